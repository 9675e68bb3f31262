use super::*;
use crate::testing::{cidr, handle, ip, revision};
use proptest::prelude::*;

fn history() -> Vec<Record> {
    let network = NetworkId::from_bytes([7; 16]);
    vec![
        Record::Boot { incarnation: Incarnation(3) },
        Record::Lost,
        Record::Fenced { network },
        Record::Grants {
            network,
            revision: revision(9),
            granted: vec![cidr("10.32.0.8/29"), cidr("fd00::/80")],
        },
        Record::Allocate { network, address: ip("10.32.0.9"), handle: handle(1) },
        Record::Allocate { network, address: ip("fd00::5"), handle: handle(2) },
        Record::Release { network, address: ip("10.32.0.9"), handle: handle(1) },
        Record::Lend { network, prefix: cidr("10.32.0.12/30") },
        Record::Unlend { network, prefix: cidr("10.32.0.12/30") },
        Record::Rest { network, address: ip("fd00::9") },
        Record::Forget { network },
    ]
}

#[test]
fn a_whole_journal_reads_back_as_it_was_written() {
    let bytes = encode_all(&history()).unwrap();
    assert_eq!(decode(&bytes).unwrap(), Journal { records: history(), tear: None });
}

#[test]
fn a_journal_torn_at_any_byte_gives_all_records_before_the_tear() {
    let bytes = encode_all(&history()).unwrap();
    let mut ends = vec![header().len()];
    for record in history() {
        ends.push(ends.last().unwrap() + encode(&record).unwrap().len());
    }
    for cut in 0..=bytes.len() {
        let journal = decode(&bytes[..cut]).unwrap();
        let whole = ends.iter().rposition(|end| *end <= cut);
        assert_eq!(journal.records, history()[..whole.unwrap_or(0)], "cut at {cut}");
        let begin = whole.map_or(0, |whole| ends[whole]);
        let tear =
            (begin < cut || cut < header().len()).then_some(Tear { offset: begin, length: cut - begin });
        assert_eq!(journal.tear, tear, "cut at {cut}");
    }
}

#[test]
fn a_tail_of_zeroes_is_a_tear_and_no_row_of_empty_records() {
    let mut bytes = encode_all(&history()).unwrap();
    let offset = bytes.len();
    bytes.extend([0; 4096]);
    let journal = decode(&bytes).unwrap();
    assert_eq!((journal.records, journal.tear), (history(), Some(Tear { offset, length: 4096 })));
}

#[test]
fn what_is_no_journal_or_a_newer_one_is_refused() {
    assert_eq!(decode(b"{\"not\": \"ours\"}"), Err(IpamError::NotJournal));
    let mut newer = header();
    newer[MAGIC.len()..].copy_from_slice(&(VERSION + 1).to_le_bytes());
    assert_eq!(decode(&newer), Err(IpamError::NewerJournal { found: VERSION + 1, known: VERSION }));
}

#[test]
fn the_form_on_disk_has_not_changed() {
    // Written by version 1. Who changes this must raise the version and go on reading the old form.
    let record = Record::Release {
        network: NetworkId::from_bytes([7; 16]),
        address: ip("10.32.0.9"),
        handle: handle(1),
    };
    let written = encode(&record).unwrap();
    let payload = b"\x03\x2007070707070707070707070707070707\x00\x0a\x20\x00\x09\x06test:1";
    assert_eq!(&written[FRAME..], payload);
    assert_eq!(header(), b"HOPSACKJ\x01\x00");
}

proptest! {
    #[test]
    fn a_flipped_bit_never_changes_a_record(at in 10_usize..400, bit in 0..8) {
        let mut bytes = encode_all(&history()).unwrap();
        let at = HEADER + at % (bytes.len() - HEADER);
        bytes[at] ^= 1_u8 << bit;
        let journal = decode(&bytes).unwrap();
        prop_assert!(journal.tear.is_some());
        prop_assert_eq!(&history()[..journal.records.len()], &journal.records[..]);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut journal = header();
        journal.extend(&bytes);
        prop_assert!(decode(&journal).is_ok());
        drop(decode(&bytes));
    }
}
