//! A `traceparent`. One of ours is well-formed whatever came, and goes on where ours went.

use cfx::telemetry::trace_context::TraceContext;
use cfx::units::RequestId;

pub fn target(bytes: &[u8]) {
    let Ok(header) = std::str::from_utf8(bytes) else { return };
    let id = RequestId(uuid::Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001));
    let context = TraceContext::of(Some(header), id, Some(0.5));
    for sent in [context.to_model(), context.to_web()] {
        let text = std::str::from_utf8(&sent).expect("ASCII");
        let next = TraceContext::of(Some(text), id, Some(0.0));
        assert_eq!(next.is_sampled(), context.is_sampled());
        assert_eq!(next.to_model()[..36], sent[..36], "the trace was lost: {header:?}");
    }
}
