//! A plain RESP client that knows exactly what it has sent and what was answered.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use crate::common::PATIENCE;

pub struct Client {
    reader: BufReader<TcpStream>,
}

/// One reply: a line, a string, null, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Line(String),
    Bulk(Option<Vec<u8>>),
    Array(Vec<Reply>),
}

impl Reply {
    pub fn text(&self) -> String {
        match self {
            Self::Line(line) => line.clone(),
            Self::Bulk(Some(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("{other:?} is no text"),
        }
    }
}

impl Client {
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self { reader: BufReader::new(stream) }
    }

    /// Sends commands as one piece.
    pub fn send(&mut self, commands: &[Vec<String>]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for command in commands {
            bytes.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
            for argument in command {
                bytes.extend_from_slice(format!("${}\r\n{argument}\r\n", argument.len()).as_bytes());
            }
        }
        self.reader.get_mut().write_all(&bytes)
    }

    pub fn receive(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let count = || line[1..].parse::<i64>().expect("a number");
        match line.as_bytes()[0] {
            b'$' if count() < 0 => Ok(Reply::Bulk(None)),
            b'$' => {
                let mut bytes = vec![0; usize::try_from(count()).expect("small") + 2];
                self.reader.read_exact(&mut bytes)?;
                bytes.truncate(bytes.len() - 2);
                Ok(Reply::Bulk(Some(bytes)))
            }
            b'*' => (0..count()).map(|_| self.receive()).collect::<io::Result<_>>().map(Reply::Array),
            _ => Ok(Reply::Line(line.to_owned())),
        }
    }

    /// Asks one thing.
    pub fn ask(&mut self, line: &str) -> Reply {
        self.send(&[words(line)]).expect("sent");
        self.receive().unwrap_or_else(|error| panic!("{line}: {error}"))
    }
}

pub fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}
