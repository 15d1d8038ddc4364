//! Handshakes made by hand, in records and chunks of all sizes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const RETRY_RANDOM: &str = "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c";

/// A block with a length of so many bytes before it.
fn block(width: usize, content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32).to_be_bytes()[4 - width..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes(), block(2, content).as_slice()].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], block(3, body).as_slice()].concat()
}

/// The content in records of at most so many bytes.
fn records(kind: u8, content: &[u8], most: usize) -> Vec<u8> {
    content.chunks(most).flat_map(|piece| [&[kind, 3, 1], block(2, piece).as_slice()].concat()).collect()
}

fn client_hello(session: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let ciphers = block(2, &[0x13, 1, 0xc0, 0x2f]);
    let extensions = block(2, &extensions.concat());
    message(1, &[&[3, 3], [7; 32].as_slice(), &block(1, session), &ciphers, &[1, 0], &extensions].concat())
}

fn server_hello(random: [u8; 32], session: &[u8], cipher: u16, extensions: &[Vec<u8>]) -> Vec<u8> {
    let extensions = block(2, &extensions.concat());
    message(2, &[&[3, 3], random.as_slice(), &block(1, session), &cipher.to_be_bytes(), &[0], &extensions].concat())
}

fn server_name(name: &str) -> Vec<u8> {
    extension(0, &block(2, &[&[0], block(2, name.as_bytes()).as_slice()].concat()))
}

fn alpn(names: &[&str]) -> Vec<u8> {
    extension(16, &block(2, &names.iter().flat_map(|name| block(1, name.as_bytes())).collect::<Vec<_>>()))
}

fn retry_random() -> [u8; 32] {
    std::array::from_fn(|i| u8::from_str_radix(&RETRY_RANDOM[2 * i..2 * i + 2], 16).unwrap())
}

fn modern() -> Vec<u8> {
    let versions = extension(43, &block(1, &[0x7a, 0x7a, 3, 4, 3, 3]));
    client_hello(&[9; 32], &[extension(0x1a1a, &[]), server_name("example.org"), alpn(&["h2", "http/1.1"]), versions])
}

/// Feeds chunks of at most so many bytes; returns the events and the parser.
fn feed(most: usize, chunks: &[(Side, Vec<u8>)]) -> (Vec<Event>, Tls) {
    let (mut tls, mut out) = (Tls::new(), Vec::new());
    for (side, bytes) in chunks {
        for piece in bytes.chunks(most) {
            tls.push(*side, At::default(), Chunk::Bytes(piece), &mut out);
        }
    }
    (out, tls)
}

#[track_caller]
fn check(chunks: &[(Side, Vec<u8>)], over: bool, expect: &Handshake) {
    for most in [usize::MAX, 1, 7, 100] {
        let (events, tls) = feed(most, chunks);
        assert!(!events.iter().any(|event| matches!(event, Event::Oddity(_))), "{events:?}");
        assert_eq!(events.last(), Some(&Event::Tls(Box::new(expect.clone()))), "chunks of {most}");
        assert_eq!(tls.appetite() == Appetite::Nothing, over);
        assert!(!over || tls.kept() == 0);
    }
}

fn offered() -> Handshake {
    Handshake {
        server_name: Some("example.org".into()),
        offered: vec!["h2".into(), "http/1.1".into()],
        client_version: Some(0x0304),
        ..Handshake::default()
    }
}

#[test]
fn a_hello_in_one_record_or_many() {
    for most in [1 << 14, 50, 3] {
        check(&[(Side::Client, records(22, &modern(), most))], false, &offered());
    }
}

#[test]
fn tls_1_3_hides_all_but_version_and_cipher() {
    let key = [extension(43, &[3, 4]), extension(51, &[0; 36])];
    let psk = [extension(43, &[3, 4]), extension(41, &[0, 0])];
    for (extensions, resumed) in [(key, false), (psk, true)] {
        let answer = records(22, &server_hello([5; 32], &[9; 32], 0x1302, &extensions), 1 << 14);
        let rest = [answer, records(20, &[1], 1), records(23, &[0; 100], 100)].concat();
        check(
            &[(Side::Client, records(22, &modern(), 1 << 14)), (Side::Server, rest)],
            true,
            &Handshake { version: Some(0x0304), cipher: Some(0x1302), resumed: Some(resumed), ..offered() },
        );
    }
}

#[test]
fn tls_1_2_tells_the_protocol_and_the_session() {
    for (session, resumed) in [(&[9; 32][..], true), (&[8; 32], false), (&[], false)] {
        let answer = server_hello([5; 32], session, 0xc02f, &[alpn(&["http/1.1"])]);
        let chunks = [(Side::Client, records(22, &modern(), 1 << 14)), (Side::Server, records(22, &answer, 1 << 14))];
        check(
            &chunks,
            true,
            &Handshake {
                version: Some(0x0303),
                cipher: Some(0xc02f),
                chosen: Some("http/1.1".into()),
                resumed: Some(resumed),
                ..offered()
            },
        );
    }
}

#[test]
fn a_retry_is_not_the_answer() {
    let extensions = [extension(43, &[3, 4])];
    let retry = records(22, &server_hello(retry_random(), &[9; 32], 0x1301, &extensions), 1 << 14);
    let answer = records(22, &server_hello([5; 32], &[9; 32], 0x1301, &extensions), 1 << 14);
    let hello = records(22, &modern(), 1 << 14);
    let mut chunks = vec![
        (Side::Client, hello.clone()),
        (Side::Server, [retry, records(20, &[1], 1)].concat()),
        (Side::Client, [records(20, &[1], 1), hello].concat()),
    ];
    let agreed = Handshake { version: Some(0x0304), cipher: Some(0x1301), ..offered() };
    check(&chunks, false, &agreed);
    chunks.push((Side::Server, answer));
    check(&chunks, true, &Handshake { resumed: Some(false), ..agreed });
}

#[test]
fn an_alert_in_the_clear_is_kept() {
    let refusal = [(Side::Client, records(22, &modern(), 1 << 14)), (Side::Server, records(21, &[2, 40], 2))];
    check(&refusal, false, &Handshake { alert: Some(40), ..offered() });

    // After the hellos only a record that is a whole chunk can be told from encrypted bytes.
    let answer = records(22, &server_hello([5; 32], &[], 0xc02f, &[]), 1 << 14);
    let mut chunks = vec![(Side::Server, answer), (Side::Client, records(21, &[2, 48], 2))];
    let agreed = Handshake { version: Some(0x0303), cipher: Some(0xc02f), ..Handshake::default() };
    let (events, _) = feed(usize::MAX, &chunks);
    assert_eq!(events.last(), Some(&Event::Tls(Box::new(Handshake { alert: Some(48), ..agreed.clone() }))));
    chunks[1].1 = records(21, &[1, 0], 2);
    let (events, _) = feed(usize::MAX, &chunks);
    assert_eq!(events.last(), Some(&Event::Tls(Box::new(agreed))), "an orderly end is no failure");
}

#[test]
fn a_hello_that_was_not_copied_whole_is_read_as_far_as_it_goes() {
    let big = extension(0xfe0d, &[0; 12_000]);
    let hello = records(22, &client_hello(&[], &[server_name("a.b"), big, alpn(&["h2"])]), 1 << 14);
    let (mut tls, mut out) = (Tls::new(), Vec::new());
    tls.push(Side::Client, At::default(), Chunk::Bytes(&hello[..8192]), &mut out);
    assert_eq!(out, []);
    tls.push(Side::Client, At::default(), Chunk::Gap(hello.len() as u64 - 8192), &mut out);
    let seen = Handshake { server_name: Some("a.b".into()), client_version: Some(0x0303), ..Handshake::default() };
    assert_eq!(out, [Event::Oddity(Oddity::Hole), Event::Tls(Box::new(seen))]);

    let whole = client_hello(&[], &[extension(21, &[0; 16_000]), server_name("a.b")]);
    let (events, _) = feed(1000, &[(Side::Client, records(22, &whole, 1 << 14))]);
    assert!(matches!(&events[..], [Event::Tls(seen)] if seen.server_name.as_deref() == Some("a.b")));
}

#[test]
fn guesses() {
    let (client, server) = (records(22, &modern(), 1 << 14), records(22, &server_hello([5; 32], &[], 1, &[]), 100));
    for (side, bytes) in [(Side::Client, &client), (Side::Server, &server)] {
        assert_eq!(guess(side, bytes), Guess::Yes);
        for cut in 0..GUESS_BYTES {
            assert_eq!(guess(side, &bytes[..cut]), Guess::Unsure);
        }
    }
    assert_eq!(guess(Side::Server, &records(21, &[2, 70], 2)), Guess::Yes);
    for bytes in [&b"GET / HTTP/1.1"[..], &[22, 3, 1, 0, 0, 1], &[22, 2], &[22, 3, 9], &server, &[22, 3, 1, 0xff]] {
        assert_eq!(guess(Side::Client, bytes), Guess::No, "{bytes:?}");
    }
}

#[test]
fn names_are_those_of_the_registries() {
    assert_eq!((version_name(0x0304), version_name(0x0303), version_name(0x7f12)), (Some("1.3"), Some("1.2"), None));
    assert_eq!((cipher_name(0x1301), cipher_name(0x0a0a)), (Some("TLS_AES_128_GCM_SHA256"), None));
}

proptest! {
    #[test]
    fn nothing_panics_and_everything_is_bounded(
        start in prop::sample::select(vec![vec![], vec![22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc], vec![22, 3, 3, 0, 9, 2]]),
        chunks in vec((any::<bool>(), prop_oneof![vec(any::<u8>(), 0..60), (0..40_000usize).prop_map(|n| vec![3; n])]), 0..20),
        gap in 0..20usize,
    ) {
        let (mut tls, mut out) = (Tls::new(), Vec::new());
        tls.push(Side::Client, At::default(), Chunk::Bytes(&start), &mut out);
        for (index, (client, bytes)) in chunks.iter().enumerate() {
            let side = if *client { Side::Client } else { Side::Server };
            let chunk = if index == gap { Chunk::Gap(bytes.len() as u64) } else { Chunk::Bytes(bytes) };
            tls.push(side, At::default(), chunk, &mut out);
            prop_assert!(tls.kept() <= 4 * 17 * 1024);
        }
        tls.ended(Ending::Closed, Nanos(1), &mut out);
        prop_assert_eq!(tls.appetite(), Appetite::Nothing);
    }

    #[test]
    fn a_changed_hello_never_panics(at in 0..200usize, to in any::<u8>(), most in 1..300usize) {
        let mut hello = records(22, &modern(), 1 << 14);
        let len = hello.len();
        hello[at % len] = to;
        feed(most, &[(Side::Client, hello.clone()), (Side::Server, hello)]);
    }
}
