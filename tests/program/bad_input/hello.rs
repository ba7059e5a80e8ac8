//! TLS records made by hand.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::{ClientConnection, ConnectionTrafficSecrets};

/// A fatal alert in a record of its own (RFC 8446, sections 5.1 and 6).
pub(crate) fn alert(description: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, description]
}

/// A record of the handshake (RFC 8446, 5.1).
pub(crate) fn record(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("one record").to_be_bytes();
    [&[22, 3, 1], &length[..], message].concat()
}

/// A ClientHello (RFC 8446, 4.1.2) for X25519, with these versions (none: TLS 1.2 of old), suites and further
/// extensions.
pub(crate) fn hello(versions: &[u16], suites: &[u16], extensions: &[(u16, &[u8])]) -> Vec<u8> {
    let words = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
    let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).expect("short").to_be_bytes()[..], bytes].concat();
    let share = [&[0, 29, 0, 32][..], &[9; 32]].concat();
    let version_list = words(versions);
    let version_list = [&[u8::try_from(version_list.len()).expect("short")], &version_list[..]].concat();
    let mut all = vec![(10, sized(&words(&[29]))), (13, sized(&words(&[0x0403, 0x0807]))), (51, sized(&share))];
    if !versions.is_empty() {
        all.push((43, version_list));
    }
    all.extend(extensions.iter().map(|(kind, bytes)| (*kind, bytes.to_vec())));
    let all: Vec<u8> = all.iter().flat_map(|(kind, bytes)| [words(&[*kind]), sized(bytes)].concat()).collect();
    let body = [&[3, 3][..], &[7; 32], &[0], &sized(&words(suites)), &[1, 0], &sized(&all)].concat();
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    record(&[&[1], &length[1..], &body].concat())
}

/// The hello of a client that this server would serve.
pub(crate) fn good_hello() -> Vec<u8> {
    hello(&[0x0304], &[0x1301], &[])
}

/// A record of the handshake as a client would send it next, after a TLS 1.3 handshake: `message` is encrypted under its
/// key (RFC 8446, 5.2).
pub(crate) fn sealed(client: ClientConnection, message: &[u8]) -> Vec<u8> {
    let secrets = client.dangerous_extract_secrets().expect("the handshake is done");
    let (number, ConnectionTrafficSecrets::Aes256Gcm { key, iv }) = secrets.tx else { panic!("AES-256-GCM") };
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("a key"));
    let mut sealed = [message, &[22]].concat();
    let length = u16::try_from(sealed.len() + AES_256_GCM.tag_len()).expect("short").to_be_bytes();
    let header = [&[23, 3, 3], &length[..]].concat();
    // The nonce is the initialisation vector with the record's number in its last eight bytes (RFC 8446, 5.3).
    let number = [&[0; 4], &number.to_be_bytes()[..]].concat();
    let nonce: Vec<u8> = iv.as_ref().iter().zip(number).map(|(one, other)| one ^ other).collect();
    let nonce = Nonce::try_assume_unique_for_key(&nonce).expect("twelve bytes");
    key.seal_in_place_append_tag(nonce, Aad::from(&header), &mut sealed).expect("sealed");
    [header, sealed].concat()
}
