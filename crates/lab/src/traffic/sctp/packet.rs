//! SCTP packets of one chunk (RFC 9260), as far as an association is set up by them. Pure: bytes in, bytes out.

/// Common header: two ports, verification tag, checksum (section 3.1).
const HEADER: usize = 12;
/// Where the checksum is in it.
const CHECKSUM: std::ops::Range<usize> = 8..12;
/// Before a chunk's value: type, flags, length (section 3.2).
const CHUNK_HEADER: usize = 4;
/// Fixed part of INIT and INIT ACK: tag, window, streams out and in, first TSN (sections 3.3.2 and 3.3.3).
const INIT_FIXED: usize = 16;
/// The parameter of an INIT ACK that carries the cookie (section 3.3.3.1).
const STATE_COOKIE: u16 = 7;

/// Chunk types (section 3.2).
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;

/// The cookie's length in bytes: here it is the tag of whoever asked, so that who answers need not remember anybody.
const COOKIE: usize = 4;

/// What is said on the way to an association (section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunk {
    /// Asks for an association.
    Init {
        /// What packets in return have to carry.
        tag: u32,
    },
    /// Agrees.
    InitAck {
        /// As in `Init`.
        tag: u32,
        /// To be returned.
        cookie: u32,
    },
    /// Returns the cookie.
    CookieEcho {
        /// As it came.
        cookie: u32,
    },
    /// The association stands.
    CookieAck,
}

/// A packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet {
    /// Source port.
    pub from: u16,
    /// Target port.
    pub to: u16,
    /// Verification tag: what the receiver asked for; 0 with INIT (section 8.5.1).
    pub tag: u32,
    /// What it carries.
    pub chunk: Chunk,
}

impl Packet {
    /// As sent, with the checksum.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let (kind, value) = match self.chunk {
            Chunk::Init { tag } => (INIT, init(tag)),
            Chunk::InitAck { tag, cookie } => {
                let parameter = [STATE_COOKIE.to_be_bytes(), ((CHUNK_HEADER + COOKIE) as u16).to_be_bytes()];
                (INIT_ACK, [&init(tag)[..], &parameter.concat(), &cookie.to_be_bytes()].concat())
            }
            Chunk::CookieEcho { cookie } => (COOKIE_ECHO, cookie.to_be_bytes().to_vec()),
            Chunk::CookieAck => (COOKIE_ACK, Vec::new()),
        };
        let length = ((CHUNK_HEADER + value.len()) as u16).to_be_bytes();
        let (from, to) = (self.from.to_be_bytes(), self.to.to_be_bytes());
        let header = [&from[..], &to, &self.tag.to_be_bytes(), &[0; 4]].concat();
        let mut packet = [&header[..], &[kind, 0], &length, &value].concat();
        let sum = crc32c(&packet).to_le_bytes();
        packet[CHECKSUM].copy_from_slice(&sum);
        packet
    }

    /// Reads a packet; none if its checksum is wrong or its first chunk is another one.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (header, chunk) = bytes.split_at_checked(HEADER)?;
        let mut blank = bytes.to_vec();
        blank[CHECKSUM].fill(0);
        if u32::from_le_bytes(*header[CHECKSUM].first_chunk()?) != crc32c(&blank) {
            return None;
        }
        let (&kind, value) = (chunk.first()?, chunk.get(CHUNK_HEADER..)?);
        let number = |at: usize| Some(u32::from_be_bytes(*value.get(at..)?.first_chunk()?));
        let chunk = match kind {
            INIT => Chunk::Init { tag: number(0)? },
            // Only our own echo is talked with, which has no other parameter before the cookie.
            INIT_ACK => Chunk::InitAck { tag: number(0)?, cookie: number(INIT_FIXED + CHUNK_HEADER)? },
            COOKIE_ECHO => Chunk::CookieEcho { cookie: number(0)? },
            COOKIE_ACK => Chunk::CookieAck,
            _ => return None,
        };
        let port = |at: usize| Some(u16::from_be_bytes(*header.get(at..)?.first_chunk()?));
        let tag = u32::from_be_bytes(*header.get(4..)?.first_chunk()?);
        Some(Self { from: port(0)?, to: port(2)?, tag, chunk })
    }
}

/// A window of 64 KiB, one stream each way, and the tag as the first TSN, which is as good as any.
fn init(tag: u32) -> Vec<u8> {
    let (window, streams) = ((64_u32 << 10).to_be_bytes(), 1_u16.to_be_bytes());
    [&tag.to_be_bytes()[..], &window, &streams, &streams, &tag.to_be_bytes()].concat()
}

/// CRC32c (RFC 9260 appendix A): Castagnoli's polynomial, bits reflected.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // The check value of CRC-32/ISCSI in the catalogue of CRCs, and RFC 3720 appendix B.4 for 32 zeros.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]).to_le_bytes(), [0xaa, 0x36, 0x91, 0x8a]);
    }

    #[test]
    fn packets_are_read_as_written_and_damaged_ones_not_at_all() {
        for chunk in [
            Chunk::Init { tag: 7 },
            Chunk::InitAck { tag: 8, cookie: 7 },
            Chunk::CookieEcho { cookie: 7 },
            Chunk::CookieAck,
        ] {
            let packet = Packet { from: 40_000, to: 80, tag: 9, chunk };
            let mut bytes = packet.bytes();
            assert_eq!(Packet::read(&bytes), Some(packet));
            assert_eq!(bytes.len() % 4, 0, "chunks end at words");
            // Another port without another checksum.
            bytes[3] ^= 1;
            assert_eq!(Packet::read(&bytes), None);
        }
        assert_eq!(Packet::read(b"short"), None);
    }

    #[test]
    fn an_init_has_its_fields_where_the_rfc_has_them() {
        let bytes = Packet { from: 1, to: 2, tag: 0, chunk: Chunk::Init { tag: 0x0102_0304 } }.bytes();
        assert_eq!(bytes[..8], [0, 1, 0, 2, 0, 0, 0, 0]);
        assert_eq!(bytes[12..], [1, 0, 0, 20, 1, 2, 3, 4, 0, 1, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4]);
    }
}
