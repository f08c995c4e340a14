//! The one thing that is said to a stock SSH client in clear text: why it goes no further.
//!
//! An SSH version line (RFC 4253 section 4.2) and an unencrypted `SSH_MSG_DISCONNECT` (section 11.1), which is legal
//! before key exchange and which every client prints.

/// Longest sentence that is sent, in bytes; longer ones are cut at a character.
pub const SENTENCE_BYTES_MAX: usize = 1024;
/// `SSH_MSG_DISCONNECT`.
const DISCONNECT: u8 = 1;
/// `SSH_DISCONNECT_BY_APPLICATION`.
const BY_APPLICATION: u32 = 11;
/// Packets are padded to a multiple of this before encryption is negotiated (RFC 4253 section 6).
const BLOCK: usize = 8;
/// Least padding of a packet.
const PADDING_MIN: usize = 4;

/// Version line and disconnect packet that show `sentence`, without control characters.
pub fn packet(sentence: &str) -> Vec<u8> {
    let mut words = String::from("belay: ");
    for c in sentence.chars() {
        let c = if c.is_control() { ' ' } else { c };
        if words.len() + c.len_utf8() > SENTENCE_BYTES_MAX {
            break;
        }
        words.push(c);
    }
    let mut payload = vec![DISCONNECT];
    payload.extend(BY_APPLICATION.to_be_bytes());
    for text in [words.as_bytes(), b"".as_slice()] {
        payload.extend(u32::try_from(text.len()).unwrap_or(0).to_be_bytes());
        payload.extend(text);
    }
    let unpadded = 4 + 1 + payload.len();
    let padding = PADDING_MIN + (BLOCK - (unpadded + PADDING_MIN) % BLOCK) % BLOCK;
    let mut out = b"SSH-2.0-Belay\r\n".to_vec();
    out.extend(u32::try_from(1 + payload.len() + padding).unwrap_or(0).to_be_bytes());
    out.push(u8::try_from(padding).unwrap_or(0));
    out.extend(payload);
    out.resize(out.len() + padding, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_is_a_whole_number_of_blocks_and_says_the_sentence() {
        for sentence in ["", "no", "web1.acme is offline since 2026-11-21T09:00:00Z", &"ä".repeat(2000)] {
            let all = packet(sentence);
            let packet = all.strip_prefix(b"SSH-2.0-Belay\r\n".as_slice()).unwrap();
            let length = u32::from_be_bytes(packet[..4].try_into().unwrap()) as usize;
            assert_eq!(packet.len(), length + 4);
            assert_eq!(packet.len() % BLOCK, 0);
            assert!(usize::from(packet[4]) >= PADDING_MIN);
            let text_len = u32::from_be_bytes(packet[10..14].try_into().unwrap()) as usize;
            assert!(text_len <= SENTENCE_BYTES_MAX);
            assert!(std::str::from_utf8(&packet[14..14 + text_len]).unwrap().starts_with("belay: "));
        }
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert!(!packet("a\u{1b}]0;x\u{7}b\r\nc").windows(1).skip(16).any(|b| b == [0x1b] || b == [0x07]));
    }
}
