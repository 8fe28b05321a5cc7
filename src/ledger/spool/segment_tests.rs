use super::*;
use crate::ledger::spool::testing::opening;

const NAME: Name = Name { edge: EdgeId(Uuid::from_u128(7)), generation: 3, lane: 1, number: 12 };

fn bytes() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME.file_name());
    let mut tally = Tally::default();
    (0..3).for_each(|n| tally.count(&opening(n)));
    let (_, length) = create(&path, &NAME, &tally, 64 << 10).unwrap();
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(bytes.len(), length as usize, "what is set aside is no part of the file");
    bytes
}

#[test]
fn a_header_says_whose_it_is_and_what_was_counted() {
    let header = read_header(&bytes()).unwrap();
    assert_eq!((header.name, header.length as usize), (NAME, bytes().len()));
    let mut counted = Tally::default();
    (0..3).for_each(|n| counted.count(&opening(n)));
    assert_eq!(header.tally, counted);
}

#[test]
fn no_flipped_bit_of_a_header_goes_unnoticed() {
    let good = bytes();
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(read_header(&bytes).err(), Some(HeaderProblem::Damaged), "bit {bit}");
    }
    for length in 0..good.len() {
        assert_eq!(read_header(&good[..length]).err(), Some(HeaderProblem::Damaged), "{length} bytes");
    }
}

#[test]
fn another_version_is_no_damage() {
    let mut bytes = bytes();
    bytes[8..10].copy_from_slice(&9_u16.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..12]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    assert_eq!(read_header(&bytes).err(), Some(HeaderProblem::Version(9)));
}

#[test]
fn segments_sort_by_generation_lane_and_number() {
    let later = Name { generation: 4, lane: 0, number: 1, ..NAME };
    let next = Name { number: 100, ..NAME };
    assert!(NAME.file_name() < next.file_name() && next.file_name() < later.file_name());
}
