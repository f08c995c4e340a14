//! Requests as clients send them, answers as they read them, and what is no packet.

use super::*;
use crate::limits::SFTP_PACKET_BYTES_MAX;

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn packet(kind: u8, id: u32, fields: &[Vec<u8>]) -> Vec<u8> {
    [&[kind][..], &id.to_be_bytes(), &fields.concat()].concat()
}

fn read(packet: &[u8]) -> Request<'_> {
    Asked::read(packet).unwrap().request
}

#[test]
fn requests_are_read_with_their_paths_byte_for_byte() {
    let attributes = [&5u32.to_be_bytes()[..], &9u64.to_be_bytes(), &0o100_600u32.to_be_bytes()].concat();
    let open = packet(3, 7, &[string(b"/caf\xe9\n"), 26u32.to_be_bytes().to_vec(), attributes]);
    let Asked { id, request: Request::Open { path, flags, attributes } } = Asked::read(&open).unwrap() else {
        panic!("not an open")
    };
    assert_eq!((id, path), (7, b"/caf\xe9\n".as_slice()));
    assert!(flags.writes() && flags.creates() && flags.truncates() && !flags.reads() && !flags.appends());
    assert_eq!((attributes.size, attributes.mode, attributes.owner), (Some(9), Some(0o100_600), None));

    let link = packet(20, 1, &[string(b"says"), string(b"/link")]);
    assert_eq!(read(&link), Request::MakeLink { says: b"says", path: b"/link" });
    let foreign = packet(4, 1, &[string(b"not ours")]);
    assert_eq!(read(&foreign), Request::Close { handle: None });
    let rename = packet(200, 1, &[string(b"posix-rename@openssh.com"), string(b"a"), string(b"b")]);
    assert_eq!(read(&rename), Request::Extended(Extension::PosixRename { from: b"a", to: b"b" }));
    assert_eq!(read(&packet(200, 1, &[string(b"who@example")])), Request::Unknown);
    assert_eq!(read(&packet(99, 1, &[])), Request::Unknown);
}

#[test]
fn every_extension_that_is_offered_is_read() {
    // Enough for the longest of them: paths, handles and numbers are all read from zeros as empty or 0.
    for (name, _) in EXTENSIONS {
        let request = packet(200, 1, &[string(name.as_bytes()), vec![0; 64]]);
        assert!(matches!(read(&request), Request::Extended(_)), "{name}");
    }
}

#[test]
fn a_packet_that_ends_early_is_malformed_wherever_it_ends() {
    let whole = packet(3, 7, &[string(b"/path"), vec![0; 4], vec![0, 0, 0, 15], vec![0; 28]]);
    Asked::read(&whole).unwrap();
    for end in 0..whole.len() {
        assert_eq!(Asked::read(&whole[..end]), Err(Malformed::Short), "{end}");
    }
    let lying = packet(7, 1, &[vec![0xff, 0xff, 0xff, 0xff], b"/x".to_vec()]);
    assert_eq!(Asked::read(&lying), Err(Malformed::Short));
    let endless = packet(9, 1, &[string(b"/x"), 0x8000_0000u32.to_be_bytes().to_vec(), vec![0xff; 4]]);
    assert_eq!(Asked::read(&endless), Err(Malformed::Short));
}

#[test]
fn packets_are_split_and_a_long_one_is_refused_by_its_length_alone() {
    assert_eq!(split(&[0, 0, 0]), Ok(None));
    assert_eq!(split(&[0, 0, 0, 2, 9]), Ok(None));
    assert_eq!(split(&[0, 0, 0, 2, 9, 8, 7]), Ok(Some((&[9, 8][..], 6))));
    let long = u32::try_from(SFTP_PACKET_BYTES_MAX + 1).unwrap().to_be_bytes();
    assert_eq!(split(&long), Err(Malformed::TooLong(SFTP_PACKET_BYTES_MAX + 1)));
}

#[test]
fn answers_are_packets_with_their_length_in_front() {
    let mut replies = Replies::default();
    replies.version();
    replies.status(1, Status::PermissionDenied, "no");
    replies.handle(2, 3);
    let read = |buffer: &mut [u8]| {
        buffer[..3].copy_from_slice(b"abc");
        Ok::<_, ()>(3)
    };
    assert_eq!(replies.data(4, 9, read), Ok(3));
    assert_eq!(replies.data(4, 9, |_| Ok::<_, ()>(0)), Ok(0));
    assert_eq!(replies.data(4, 9, |_| Err(())), Err(()));
    let attributes = Attributes { size: Some(1), owner: Some((2, 3)), mode: Some(4), times: Some((5, 6)) };
    replies.names(5, &[Name { name: b"n".to_vec(), long: b"l".to_vec(), attributes }]);
    let mut kinds = Vec::new();
    let mut rest = replies.bytes();
    while let Some((packet, length)) = split(rest).unwrap() {
        kinds.push(packet[0]);
        if packet[0] == 103 {
            assert_eq!(packet, [&[103, 0, 0, 0, 4, 0, 0, 0, 3][..], b"abc"].concat());
        }
        rest = &rest[length..];
    }
    assert!(rest.is_empty());
    assert_eq!(kinds, [2, 101, 102, 103, 104]);
}
