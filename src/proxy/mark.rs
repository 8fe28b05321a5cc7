//! A byte order mark is one at the very start of a stream alone (HTML standard, 9.2). Behind a comment of ours it would be
//! part of the first line, and readers would pass over that line's field.

use bytes::Bytes;

const MARK: [u8; 3] = *b"\xEF\xBB\xBF";

/// Takes the mark off a stream that a comment went before.
pub struct Mark {
    /// So many of its bytes may still come. None: the stream has begun.
    left: u8,
}

impl Default for Mark {
    fn default() -> Self {
        Self { left: 3 }
    }
}

impl Mark {
    /// Of the next pieces of a stream, what is to be passed on. A part of a mark is kept back until it is known to be one.
    pub fn take_off(&mut self, pieces: &mut Vec<Bytes>, behind_comment: bool) {
        if self.left == 0 || pieces.is_empty() {
            return;
        }
        if !behind_comment {
            self.left = 0;
            return;
        }
        for piece in pieces {
            self.take_off_one(piece);
        }
    }

    fn take_off_one(&mut self, piece: &mut Bytes) {
        let (taken, left) = MARK.split_at(MARK.len() - usize::from(self.left));
        let same = piece.iter().zip(left).take_while(|(here, wanted)| here == wanted).count();
        if same == left.len() {
            self.left = 0;
            *piece = piece.slice(same..);
        } else if same == piece.len() {
            self.left -= u8::try_from(same).unwrap_or(self.left);
            piece.clear();
        } else {
            self.left = 0;
            if !taken.is_empty() {
                *piece = [taken, piece].concat().into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is passed on of `stream` in pieces of `length`.
    fn passed(stream: &[u8], length: usize, behind_comment: bool) -> Vec<u8> {
        let mut mark = Mark::default();
        let mut passed = Vec::new();
        for pieces in stream.chunks(2 * length) {
            let mut pieces: Vec<Bytes> = pieces.chunks(length).map(Bytes::copy_from_slice).collect();
            mark.take_off(&mut pieces, behind_comment);
            passed.extend(pieces.concat());
        }
        passed
    }

    #[test]
    fn it_goes_where_a_comment_went_before_it_and_nowhere_else() {
        let (with, without) = (b"\xEF\xBB\xBFdata: a\n\n\xEF\xBB\xBF", b"data: a\n\n\xEF\xBB\xBF");
        for length in 1..=with.len() {
            assert_eq!(passed(with, length, true), without, "{length}");
            assert_eq!(passed(without, length, true), without, "{length}");
            assert_eq!(passed(with, length, false), with, "{length}");
            for other in [&b"\xEF\xBBdata"[..], b"\xEF\xBF", b"\xBB\xBF", b"\xEF\xEF\xBB\xBF"] {
                assert_eq!(passed(other, length, true), other, "{length}");
            }
            assert_eq!(passed(b"\xEF\xBB\xBF\xEF\xBB\xBFx", length, true), b"\xEF\xBB\xBFx", "once, {length}");
        }
    }
}
