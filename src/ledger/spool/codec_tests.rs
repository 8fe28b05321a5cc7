use proptest::prelude::*;

use super::*;
use crate::ledger::spool::segment::Records;
use crate::ledger::spool::testing::{any_leases, any_opening, any_row, opening, row};

fn any_record() -> impl Strategy<Value = Record> {
    prop_oneof![
        (any_opening(), any::<bool>()).prop_map(|(opening, carried)| Record::Open { opening, carried }),
        (any_row(), any_leases()).prop_map(|(row, given_back)| Record::End { row, given_back }),
        (any::<u64>(), any::<u32>()).prop_map(|(segment, offset)| Record::Mark(Position { segment, offset })),
    ]
}

/// The records' bytes, and where each of them ends.
fn written(records: &[Record]) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for record in records {
        match record {
            Record::Open { opening, carried } => open(&mut bytes, opening, *carried),
            Record::End { row, given_back } => end(&mut bytes, row, given_back),
            Record::Mark(stored) => mark(&mut bytes, *stored),
        }
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn read_all(bytes: &[u8]) -> (Vec<Record>, bool) {
    let mut records = Records::new(bytes, 0);
    (records.by_ref().map(|(record, _)| record).collect(), records.is_damaged())
}

proptest! {
    #[test]
    fn what_is_written_is_read(records in prop::collection::vec(any_record(), 0..8)) {
        let (bytes, _) = written(&records);
        prop_assert_eq!(read_all(&bytes), (records, false));
    }

    #[test]
    fn cut_anywhere_it_yields_exactly_the_records_before(
        records in prop::collection::vec(any_record(), 1..8), cut in any::<prop::sample::Index>(),
    ) {
        let (bytes, ends) = written(&records);
        let cut = cut.index(bytes.len());
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let torn = cut != 0 && !ends.contains(&cut);
        prop_assert_eq!(read_all(&bytes[..cut]), (records[..whole].to_vec(), torn));
    }

    #[test]
    fn a_flipped_bit_never_makes_a_wrong_record(
        records in prop::collection::vec(any_record(), 1..6), bit in any::<prop::sample::Index>(),
    ) {
        let (mut bytes, ends) = written(&records);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let before = ends.iter().filter(|end| **end <= bit / 8).count();
        prop_assert_eq!(read_all(&bytes), (records[..before].to_vec(), true));
    }

    #[test]
    fn any_bytes_at_all_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut framed = Vec::new();
        super::framed(&mut framed, bytes.first().copied().unwrap_or(9) % 5, |body| body.extend_from_slice(&bytes));
        let _ = (read_all(&bytes), read_all(&framed));
    }
}

#[test]
fn an_ordinary_request_takes_few_bytes() {
    let (mut opened, mut ended) = (Vec::new(), Vec::new());
    open(&mut opened, &opening(1), false);
    end(&mut ended, &row(1), &[None; 2]);
    assert!(opened.len() < 140 && ended.len() < 140, "{} and {}", opened.len(), ended.len());
}
