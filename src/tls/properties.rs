//! What holds for any bytes taken for a file of certificates, keys or revocation lists, or for a client's hello: run over drawn bytes by the tests
//! and over searched ones by the fuzz targets. Panics where a promise is broken.
#![allow(clippy::missing_panics_doc, reason = "a panic is how they tell that a promise is broken")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::crl::{List, significant};
use super::records::{Hello, Look, offers_post_quantum};
use super::{Certificate, Identity, PemSource, Revocations, examine, printable};

/// A file of PEM sections: what is read of it and written anew is read as the same, and what is told of it is fit for a
/// terminal.
pub fn pem(input: &[u8]) {
    let file = PemSource { name: "it.pem".to_owned(), bytes: input.to_vec() };
    let written = |label: &str, der: &[u8]| PemSource {
        name: String::new(),
        bytes: format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der)).into_bytes(),
    };
    match file.certificates() {
        Err(error) => assert!(error.to_string().contains("it.pem"), "{error}"),
        Ok(chain) => {
            assert!(!chain.is_empty());
            for der in &chain {
                assert_eq!(written("CERTIFICATE", der).certificates().as_deref(), Ok(std::slice::from_ref(der)));
                certificate(der);
            }
        }
    }
    match file.revocation_lists() {
        Err(error) => assert!(error.to_string().contains("it.pem"), "{error}"),
        Ok(lists) => {
            if let Some(first) =
                file.certificates().ok().and_then(|chain| chain.first().and_then(|der| Certificate::from_der(der).ok()))
            {
                let _ = Revocations::read(&file, &first);
            }
            for der in &lists {
                assert_eq!(written("X509 CRL", der).revocation_lists().as_deref(), Ok(std::slice::from_ref(der)));
                revocation_list(der);
            }
        }
    }
    match file.private_key() {
        Err(error) => assert!(error.to_string().contains("it.pem"), "{error}"),
        Ok(key) => assert!(key.secret_der().len() <= input.len()),
    }
}

/// One certificate in DER: reading it ends, tells nothing that a terminal could act on, and gives one set of names.
pub fn certificate(der: &[u8]) {
    let Ok(read) = Certificate::from_der(der) else { return };
    assert_eq!(&*read.der, der);
    // Rules see no name with a NUL in it, which `certs show` shows.
    let known: Vec<_> = read.dns.iter().filter(|name| !name.contains('\0')).cloned().collect();
    assert_eq!(Identity::from_der(der).map(|identity| identity.dns), Ok(known));
    for text in [&read.subject, &read.issuer].into_iter().chain(&read.server_names()) {
        assert_eq!(printable(text), *text, "control characters are told");
    }
    assert!(read.not_after == u64::MAX || !read.is_current(read.not_after + 1));
    let Ok((_, objections)) = examine(der, read.not_before) else { return };
    for objection in objections {
        assert!(!objection.by.is_empty());
        assert_eq!(printable(&objection.why), objection.why, "control characters are told");
    }
    assert!(!read.is_issued_by(&read) || read.is_self_issued());
}

/// One revocation list in DER: a list that is obeyed revokes whom other readers see on it, and whoever renews it sees the same.
pub fn revocation_list(der: &[u8]) {
    let mut entries = Vec::new();
    match List::read_each(der, |entry| entries.push(significant(entry.serial).to_vec())) {
        Err(why) => assert_eq!(printable(&why), why, "control characters are told"),
        Ok(list) => {
            assert!(entries.iter().all(|serial| list.revoked.contains(serial)), "an entry is lost");
            assert_eq!(printable(&list.issuer), list.issuer, "control characters are told");
            if let Ok((rest, other)) = CertificateRevocationList::from_der(der) {
                let others: Vec<_> =
                    other.iter_revoked_certificates().map(|entry| significant(entry.raw_serial()).to_vec()).collect();
                assert_eq!((entries, rest), (others, &[][..]));
            }
        }
    }
}

/// What a client sends first, cut at these places: it is judged alike in any pieces.
pub fn hello(input: &[u8], cuts: &[usize]) {
    const BOUNDS: [(usize, usize); 2] = [(600, 900), ((64 << 10) - 1, 68 << 10)];
    for (longest, most) in BOUNDS {
        let whole = Hello::default().look(input, longest, most);
        let mut hello = Hello::default();
        let first = cuts.iter().filter_map(|cut| input.get(..*cut)).chain([input]).find_map(|begun| {
            let look = hello.look(begun, longest, most);
            assert!(look != Look::NeedMore || begun.len() <= most, "more is kept than is allowed");
            (look != Look::NeedMore).then_some(look)
        });
        assert_eq!(first.unwrap_or(Look::NeedMore), whole);
        if let Look::Start(end) = whole {
            let records = input.get(..end).expect("the handshake begins with what is there");
            assert!(end <= most, "more is given to the handshake than is allowed");
            offers_post_quantum(records);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tls::authority::{Authority, KeyKind, Role, Subject};

    const NOW: u64 = 1_000_000_000;

    /// A certificate, its key, and a revocation list.
    fn files() -> [String; 3] {
        let authority = Authority::create(KeyKind::Ed25519, "a CA", NOW).expect("a CA");
        let names = ["DNS:b.example".to_owned(), "IP:::1".to_owned(), "URI:spiffe://c".to_owned()];
        let subject = Subject::named("a leaf", &names).expect("names");
        let issued = authority.issue(Role::Client, &subject, KeyKind::Ed25519, NOW).expect("a leaf");
        [issued.certificate, issued.key, authority.revocation_list(&[(vec![1], NOW)], 9, NOW).expect("a list")]
    }

    #[test]
    fn files_of_any_bytes() {
        let files = files();
        let piece = prop_oneof![
            prop::sample::select(files.to_vec()).prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..40),
        ];
        let input =
            (prop::collection::vec(piece, 0..4), prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..3));
        proptest!(|((pieces, damage) in input)| {
            let mut input = pieces.concat();
            for (at, with) in damage {
                if !input.is_empty() {
                    let at = at.index(input.len());
                    input[at] = with;
                }
            }
            pem(&input);
        });
    }

    #[test]
    fn damaged_revocation_lists() {
        let file = PemSource { name: String::new(), bytes: files()[2].clone().into_bytes() };
        let whole = file.revocation_lists().expect("one").swap_remove(0).to_vec();
        revocation_list(&whole);
        proptest!(|(damage in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4))| {
            let mut der = whole.clone();
            for (at, with) in damage {
                let at = at.index(der.len());
                der[at] = with;
            }
            revocation_list(&der);
        });
    }

    #[test]
    fn hellos_in_any_pieces() {
        let byte = prop_oneof![Just(0), Just(1), Just(3), Just(22), Just(23), any::<u8>()];
        // Records of a handshake, of which the first may begin a hello, and anything.
        let record = (0..300_usize, any::<[u8; 2]>()).prop_map(|(length, declared)| {
            let mut record = vec![22, 3, 1];
            record.extend(u16::try_from(length).expect("short").to_be_bytes());
            record.extend([1, 0].iter().chain(&declared).chain(&[7; 300]).take(length));
            record
        });
        let piece = prop_oneof![record, prop::collection::vec(byte, 0..12)];
        proptest!(|(
            pieces in prop::collection::vec(piece, 0..5),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        )| {
            let input = pieces.concat();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
            cuts.sort_unstable();
            hello(&input, &cuts);
        });
    }

    #[test]
    fn damaged_certificates() {
        let file = PemSource { name: String::new(), bytes: files()[0].clone().into_bytes() };
        let whole = file.certificates().expect("one").swap_remove(0).to_vec();
        proptest!(|(damage in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4))| {
            let mut der = whole.clone();
            for (at, with) in damage {
                let at = at.index(der.len());
                der[at] = with;
            }
            certificate(&der);
        });
    }
}
