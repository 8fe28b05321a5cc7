//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>): which trace a request belongs to, and what is said of it
//! upstream.

use crate::units::RequestId;

/// The header, and what goes with it and is passed on as it came.
pub const TRACEPARENT: &str = "traceparent";
pub const TRACESTATE: &str = "tracestate";

/// A `traceparent` as it is written: version, trace, span, flags.
pub type Traceparent = [u8; 55];

const SAMPLED: u8 = 1;

/// A request's place in a trace. The client's trace goes on; without one it begins here, named by the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub(super) trace: [u8; 16],
    /// The client's span.
    pub(super) parent: Option<[u8; 8]>,
    /// The request itself. Another than `call` in every trace, be there ever so many requests in it.
    pub(super) request: [u8; 8],
    /// What is asked of a model for it.
    pub(super) call: [u8; 8],
    flags: u8,
}

impl TraceContext {
    /// `sample` is the share of traces that begin here which are to be kept; a client's own says it itself. None: whoever
    /// comes behind us is to decide.
    pub fn of(header: Option<&str>, request: RequestId, sample: Option<f64>) -> Self {
        let id = request.0.into_bytes();
        let [.., a, b, c, d, e, f, g, h] = id;
        let call = [a, b, c, d, e, f, g, h];
        let own = call.map(|byte| !byte);
        match header.and_then(inherited) {
            Some((trace, parent, flags)) => Self { trace, parent: Some(parent), request: own, call, flags },
            None => {
                let kept = sample.is_none_or(|sample| is_kept(u64::from_be_bytes(call), sample));
                Self { trace: id, parent: None, request: own, call, flags: if kept { SAMPLED } else { 0 } }
            }
        }
    }

    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// For a model's upstream.
    pub fn to_model(&self) -> Traceparent {
        self.header(self.call)
    }

    /// For a web application.
    pub fn to_web(&self) -> Traceparent {
        self.header(self.request)
    }

    fn header(&self, span: [u8; 8]) -> Traceparent {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut text[3..35], &self.trace);
        write_hex(&mut text[36..52], &span);
        write_hex(&mut text[53..], &[self.flags]);
        text
    }
}

/// By the lowest 32 bits of a request's id: those above them count within a millisecond.
fn is_kept(id: u64, sample: f64) -> bool {
    const ALL: u64 = 1 << 32;
    ((id % ALL) as f64) < sample * ALL as f64
}

/// The trace, the span and the flags of a well-formed version-00 header.
fn inherited(header: &str) -> Option<([u8; 16], [u8; 8], u8)> {
    let mut parts = header.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version != "00" || parts.next().is_some() {
        return None;
    }
    let (trace, parent, [flags]) = (read_hex(trace)?, read_hex(parent)?, read_hex::<1>(flags)?);
    (trace != [0; 16] && parent != [0; 8]).then_some((trace, parent, flags))
}

fn read_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

fn write_hex(out: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn request(id: u128) -> RequestId {
        RequestId(uuid::Uuid::from_u128(id))
    }

    fn text(header: Traceparent) -> String {
        String::from_utf8(header.to_vec()).unwrap()
    }

    #[test]
    fn a_clients_trace_goes_on_with_spans_of_ours() {
        let id = request(0x0198_0000_0000_7000_8000_0000_0000_00ff);
        for (flags, sampled) in [("01", true), ("00", false), ("03", true)] {
            let context = TraceContext::of(Some(&format!("00-{TRACE}-00f067aa0ba902b7-{flags}")), id, Some(1.0));
            assert_eq!(context.is_sampled(), sampled);
            assert_eq!(text(context.to_model()), format!("00-{TRACE}-80000000000000ff-{flags}"));
            assert_eq!(text(context.to_web()), format!("00-{TRACE}-7fffffffffffff00-{flags}"));
        }
    }

    #[test]
    fn without_one_it_begins_with_the_request() {
        let id = request(0x0198_0000_0000_7000_8000_0000_0000_00ff);
        let begun = TraceContext::of(None, id, None);
        assert_eq!(text(begun.to_model()), "00-019800000000700080000000000000ff-80000000000000ff-01");
        for bad in [
            "",
            "00",
            "00-xyz-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
        ] {
            assert_eq!(TraceContext::of(Some(bad), id, None), begun, "{bad}");
        }
    }

    #[test]
    fn as_many_traces_are_kept_as_was_asked_for() {
        let kept = |sample| {
            (0..10_000)
                .filter(|_| TraceContext::of(None, RequestId(uuid::Uuid::now_v7()), Some(sample)).is_sampled())
                .count()
        };
        assert_eq!((kept(0.0), kept(1.0)), (0, 10_000));
        assert!((2_000..3_000).contains(&kept(0.25)));
    }
}
