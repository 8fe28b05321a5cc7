use super::*;

pub(super) fn run(dialect: Dialect, strip: bool, chunks: &[&[u8]]) -> (Vec<u8>, StreamReport) {
    let mut tap = Tap::new(dialect, strip);
    let mut out = Vec::new();
    for chunk in chunks {
        tap.push(Bytes::copy_from_slice(chunk), &mut out);
    }
    tap.finish(&mut out);
    (out.concat(), tap.report())
}

fn whole(dialect: Dialect, strip: bool, stream: &str) -> (String, StreamReport) {
    let (out, report) = run(dialect, strip, &[stream.as_bytes()]);
    (String::from_utf8(out).unwrap(), report)
}

/// Deltas, words, letters, characters beyond ASCII, marks and lines.
fn said(report: &StreamReport) -> (u64, u64, u64, u64, u64, u64) {
    let said = report.said;
    (said.deltas, said.words, said.letters, said.wide, said.marks, said.lines)
}

/// As LiteLLM sends it: usage in a chunk whose choices are not empty.
pub(super) const LITELLM: &str = concat!(
    ": hello\n\n",
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Hé\"}}],\"usage\":null}\n\n",
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"llo\\n\"},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}}]}\n\n",
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{}}],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":20,\"total_tokens\":120,",
    "\"prompt_tokens_details\":{\"cached_tokens\":60},\"completion_tokens_details\":{\"reasoning_tokens\":5},\"cache_creation_input_tokens\":10}}\n\n",
    "data: [DONE]\n\n",
);

const LITELLM_USAGE: Usage = Usage { input: 100, cached_input: 60, cache_write: 10, output: 20, reasoning: 5 };

pub(super) const ANTHROPIC: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"usage\":{\"input_tokens\":25,",
    "\"cache_creation_input_tokens\":5,\"cache_read_input_tokens\":70,\"output_tokens\":1}}}\n\n",
    "event: ping\ndata: {\"type\":\"ping\"}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hmm\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\\\"\"}}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":42}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

pub(super) const RESPONSES: &str = concat!(
    "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"error\":null,\"usage\":null}}\n\n",
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"Hello\"}\n\n",
    "event: response.output_text.done\ndata: {\"type\":\"response.output_text.done\",\"text\":\"Hello\"}\n\n",
    "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"output\":[{\"text\":\"Hello\"}],",
    "\"usage\":{\"input_tokens\":36,\"input_tokens_details\":{\"cached_tokens\":6},\"output_tokens\":87,",
    "\"output_tokens_details\":{\"reasoning_tokens\":7},\"total_tokens\":123}}}\n\n",
);

#[test]
fn the_usage_we_asked_for_is_read_and_taken_out_again() {
    let (out, report) = whole(Dialect::Chat, true, LITELLM);
    assert_eq!(report.usage, Some(LITELLM_USAGE));
    assert_eq!((report.saw_end, report.error, report.at_boundary), (true, false, true));
    assert_eq!(said(&report), (3, 1, 4, 1, 2, 1), "`Hé` and `llo` are one word, and the arguments two marks");
    assert!(report.said_since.is_empty());
    assert!(!out.contains("prompt_tokens") && out.ends_with("data: [DONE]\n\n"));
    assert_eq!(out.len(), LITELLM.len() - LITELLM.split_inclusive("\n\n").nth(5).unwrap().len());
}

#[test]
fn openai_s_empty_choices_and_text_completions_are_stripped_too() {
    for (dialect, usage) in [
        (Dialect::Chat, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\r\n\r\n"),
        (
            Dialect::Completions,
            "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":null}],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n",
        ),
        (
            Dialect::Chat,
            "data: {\"choices\":[{\"delta\":{\"content\":null,\"role\":null}}],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n",
        ),
    ] {
        let (out, report) = whole(dialect, true, &format!("{usage}data: [DONE]\n\n"));
        assert_eq!(out, "data: [DONE]\n\n");
        assert_eq!(report.usage, Some(Usage { input: 7, output: 3, ..Usage::default() }));
    }
}

#[test]
fn an_event_that_says_anything_more_is_kept() {
    for event in [
        "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}],\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{}]}}],\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: {\"choices\":[],\"usage\":null}\n\n",
        "data: {\"choices\":[],\"error\":{\"message\":\"x\"},\"usage\":{\"prompt_tokens\":1}}\n\n",
        "data: not json, usage\n\n",
        ": ping\n\n",
    ] {
        assert_eq!(whole(Dialect::Chat, true, event).0, event);
    }
    // Where the client asked for usage itself, it gets it.
    assert_eq!(whole(Dialect::Chat, false, LITELLM).0, LITELLM);
}

#[test]
fn messages_count_cached_tokens_as_input() {
    let (_, report) = whole(Dialect::Messages, false, ANTHROPIC);
    assert_eq!(report.usage, Some(Usage { input: 100, cached_input: 70, cache_write: 5, output: 42, reasoning: 0 }));
    assert_eq!((report.saw_end, report.error), (true, false));
    assert_eq!(said(&report), (3, 2, 9, 0, 3, 0), "thinking, text and arguments");
}

#[test]
fn what_was_said_behind_a_usage_is_known_apart() {
    let usage = "data: {\"choices\":[{\"delta\":{\"content\":\"one\"}}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1}}\n\n";
    let more = "data: {\"choices\":[{\"delta\":{\"refusal\":\" two\"}}]}\n\n";
    let (_, report) = whole(Dialect::Chat, false, &[usage, more].concat());
    assert_eq!((report.said.deltas, report.said_since.deltas, report.said_since.letters), (2, 1, 3));
    let (_, report) = whole(Dialect::Chat, false, &[usage, more, usage].concat());
    assert!(report.said_since.is_empty());
    // An event without usage, or with one that says nothing, counts nothing.
    let (_, report) = whole(Dialect::Chat, false, &[usage, more, "data: {\"usage\":null}\n\n"].concat());
    assert_eq!(report.said_since.deltas, 1);
}

#[test]
fn responses_end_with_their_usage() {
    let (_, report) = whole(Dialect::Responses, false, RESPONSES);
    assert_eq!(report.usage, Some(Usage { input: 36, cached_input: 6, cache_write: 0, output: 87, reasoning: 7 }));
    assert_eq!((said(&report), report.saw_end, report.error), ((1, 1, 5, 0, 0, 0), true, false));
    let failed = "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"x\"}}}\n\n";
    let (_, report) = whole(Dialect::Responses, false, failed);
    assert!(report.error && report.saw_end);
}

/// However long it is, and wherever it broke off. What is not ended by an empty line is an end all the same where it is whole.
#[test]
fn a_last_event_that_broke_off_ends_nothing() {
    let long = RESPONSES.replace("[{\"text\":\"Hello\"}]", &format!("[{{\"text\":\"{}\"}}]", "x".repeat(40_000)));
    for (dialect, stream) in
        [(Dialect::Messages, ANTHROPIC), (Dialect::Responses, RESPONSES), (Dialect::Responses, &long)]
    {
        let last = stream.trim_end();
        assert!(whole(dialect, false, last).1.saw_end);
        let begun = last.rfind("data: ").unwrap() + "data: {\"type\":".len();
        for cut in (begun..last.len()).step_by(last.len() / 500 + 1) {
            let report = whole(dialect, false, &last[..cut]).1;
            assert!(!report.saw_end && !report.at_boundary, "{}", &last[begun..cut]);
        }
    }
    for (dialect, last) in [
        (
            Dialect::Responses,
            "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":{\"id\":\"r\"}}",
        ),
        (Dialect::Messages, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}"),
    ] {
        assert!(whole(dialect, false, last).1.error);
        let report = whole(dialect, false, &last[..last.len() - 1]).1;
        assert!(!report.error && !report.saw_end, "nobody hears of it: {last}");
    }
}

#[test]
fn a_completed_response_longer_than_anything_we_hold_is_still_read() {
    let long = "x".repeat(300_000);
    let stream = RESPONSES.replace("[{\"text\":\"Hello\"}]", &format!("[{{\"text\":\"{long}\"}}]"));
    for size in [1_000, 16_384, 70_000, 400_000] {
        let chunks: Vec<_> = stream.as_bytes().chunks(size).collect();
        let (out, report) = run(Dialect::Responses, false, &chunks);
        assert_eq!(out, stream.as_bytes());
        assert_eq!(report.usage.map(|usage| (usage.input, usage.output)), Some((36, 87)), "chunks of {size}");
        assert_eq!((report.said.letters, report.saw_end, report.at_boundary), (5, true, true), "chunks of {size}");
    }
}

#[test]
fn what_has_passed_of_an_event_too_long_to_hold_counts_before_its_end() {
    let text = "x".repeat(60_000);
    let event = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let begin = event.find('x').unwrap();
    let counted = |tap: &Tap| tap.report().said.words + tap.report().said.letters;
    for strip in [false, true] {
        let (mut tap, mut at) = (Tap::new(Dialect::Chat, strip), 0);
        for (upto, passed) in [(begin + 20_000, 20_000), (begin + 40_000, 40_000), (event.len(), 60_000)] {
            tap.push(Bytes::copy_from_slice(&event.as_bytes()[at..upto]), &mut Vec::new());
            at = upto;
            assert_eq!((counted(&tap), tap.report().said.deltas), (passed, 1));
            assert_eq!(tap.report().said_since, tap.report().said);
        }
    }
    // What repeats the deltas before it has said nothing, whole or not.
    let mut tap = Tap::new(Dialect::Responses, false);
    let event = format!("data: {{\"type\":\"response.completed\",\"response\":{{\"output\":[{{\"text\":\"{text}");
    tap.push(event.into(), &mut Vec::new());
    assert!(tap.report().said.is_empty());
}

#[test]
fn errors_inside_a_stream_are_seen_in_every_dialect() {
    for (dialect, event) in [
        (Dialect::Chat, "data: {\"error\":{\"message\":\"boom\",\"code\":500}}\n\n"),
        (Dialect::Messages, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n"),
        (Dialect::Messages, "event: error\ndata: {\"message\":\"boom\"}\n\n"),
        (Dialect::Messages, "event: error\ndata: boom\n\n"),
        (Dialect::Messages, "data: {\"error\":{\"message\":\"boom\"}}\n\n"),
        (Dialect::Responses, "data: {\"type\":\"error\",\"message\":\"boom\"}\n\n"),
        (Dialect::Responses, "event: error\ndata: {\"type\":\"error\",\"code\":\"500\",\"message\":\"boom\"}\n\n"),
        (Dialect::Completions, "data: {\"error\":{\"message\":\"boom\",\"code\":500}}\n\n"),
    ] {
        let (_, report) = whole(dialect, false, event);
        assert!(report.error && !report.saw_end, "{event}");
    }
    assert!(!whole(Dialect::Chat, false, "data: {\"choices\":[],\"error\":null}\n\n").1.error);
}

#[test]
fn usage_that_makes_no_sense_does_not_replace_one_that_did() {
    let good = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":2}}\n\n";
    for bad in ["null", "[]", "{}", "{\"prompt_tokens\":-5}", "{\"prompt_tokens\":1e300}", "{\"prompt_tokens\":\"9\"}"]
    {
        let stream = format!("{good}data: {{\"choices\":[],\"usage\":{bad}}}\n\n");
        let usage = whole(Dialect::Chat, false, &stream).1.usage;
        assert_eq!(usage, Some(Usage { input: 10, output: 2, ..Usage::default() }), "{bad}");
    }
    let growing = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":9}}\n\n";
    assert_eq!(whole(Dialect::Chat, false, &format!("{good}{growing}")).1.usage.unwrap().output, 9);
    // Parts are never larger than their whole.
    let parts = "data: {\"usage\":{\"prompt_tokens\":10,\"prompt_tokens_details\":{\"cached_tokens\":50}}}\n\n";
    assert_eq!(whole(Dialect::Chat, false, parts).1.usage.unwrap().cached_input, 10);
}

#[test]
fn boundaries_are_known_so_that_an_event_of_ours_can_follow() {
    let mut tap = Tap::new(Dialect::Chat, false);
    let mut out = Vec::new();
    assert!(tap.report().at_boundary);
    for (chunk, boundary) in
        [("data: 1", false), ("\n", false), ("\n", true), (": x\r\n\r", true), ("\n", true), ("d", false)]
    {
        tap.push(Bytes::from_static(chunk.as_bytes()), &mut out);
        assert_eq!(tap.report().at_boundary, boundary, "{chunk:?}");
    }
    let mut tap = Tap::new(Dialect::Chat, true);
    tap.push(Bytes::from_static(b"data: 1\n\ndata: {"), &mut out);
    assert!(tap.report().at_boundary, "the torn event has not been passed on");
    out.clear();
    tap.finish(&mut out);
    assert_eq!(out.concat(), b"data: {");
    assert!(!tap.report().at_boundary);
}

#[test]
fn without_stripping_chunks_are_the_very_same_bytes() {
    let mut tap = Tap::new(Dialect::Chat, false);
    let chunk = Bytes::copy_from_slice(LITELLM.as_bytes());
    let mut out = Vec::new();
    tap.push(chunk.clone(), &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].as_ptr(), chunk.as_ptr());
    // Stripping copies nothing either, where events come whole.
    let mut tap = Tap::new(Dialect::Chat, true);
    out.clear();
    tap.push(chunk.clone(), &mut out);
    assert_eq!((out.len(), out[0].as_ptr()), (2, chunk.as_ptr()));
}

#[test]
fn a_json_answer_is_followed_without_being_held() {
    let text = "é\\n".repeat(100_000);
    let answer = format!(
        "{{\"id\":\"x\",\"choices\":[{{\"message\":{{\"role\":\"assistant\",\"content\":\"{text}\"}}}}],\"error\":null,\
         \"usage\":{{\"prompt_tokens\":9,\"completion_tokens\":4,\"prompt_tokens_details\":{{\"cached_tokens\":3}}}}}}\n"
    );
    for size in [1, 7, 4_096, answer.len()] {
        let mut tap = AnswerTap::new(Dialect::Chat);
        for chunk in answer.as_bytes().chunks(size) {
            tap.push(chunk);
        }
        let report = tap.report();
        assert_eq!(report.usage, Some(Usage { input: 9, cached_input: 3, output: 4, ..Usage::default() }));
        assert_eq!((report.answer_chars, report.error, report.complete), (200_000, false, true), "chunks of {size}");
    }
}

#[test]
fn usage_is_found_in_answers_of_every_dialect() {
    for (dialect, answer, input, output) in [
        (Dialect::Embeddings, r#"{"data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":8,"total_tokens":8}}"#, 8, 0),
        (Dialect::Embeddings, r#"{"usage":{"total_tokens":8}}"#, 8, 0),
        (
            Dialect::Messages,
            r#"{"type":"message","usage":{"input_tokens":2,"cache_read_input_tokens":3,"output_tokens":4}}"#,
            5,
            4,
        ),
        (Dialect::Responses, r#"{"error":null,"usage":{"input_tokens":2,"output_tokens":4},"user":null}"#, 2, 4),
        (
            Dialect::Chat,
            r#"{"choices":[{"message":{"usage":{"prompt_tokens":99}}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#,
            1,
            1,
        ),
    ] {
        let mut tap = AnswerTap::new(dialect);
        tap.push(answer.as_bytes());
        let usage = tap.report().usage.expect(answer);
        assert_eq!((usage.input, usage.output), (input, output), "{answer}");
    }
    for (answer, error) in
        [(r#"{"error":{"message":"x"}}"#, true), (r#"{"error":"x"}"#, true), ("<html>", false), ("", false)]
    {
        let mut tap = AnswerTap::new(Dialect::Chat);
        tap.push(answer.as_bytes());
        assert_eq!((tap.report().error, tap.report().usage), (error, None), "{answer}");
    }
}

#[test]
fn only_a_document_can_be_complete() {
    for (answer, complete) in [
        (" \n{\"a\":1} ", true),
        ("\u{feff}{}", true),
        ("[1]", true),
        ("{\"a\":1", false),
        ("data: {\"a\":1}\n\n", false),
        ("no } brace", false),
        ("", false),
    ] {
        for size in [1, 100] {
            let mut tap = AnswerTap::new(Dialect::Chat);
            answer.as_bytes().chunks(size).for_each(|chunk| tap.push(chunk));
            assert_eq!(tap.report().complete, complete, "{answer}");
        }
    }
}

#[test]
fn a_usage_longer_than_any_is_none_however_it_is_cut() {
    for (filler, wanted) in [(16_000, true), (17_000, false)] {
        let json = format!(r#"{{"usage":{{"prompt_tokens":7,"x":"{}"}}}}"#, "w".repeat(filler));
        for piece in [17, 4096, json.len()] {
            let mut tap = AnswerTap::new(Dialect::Chat);
            json.as_bytes().chunks(piece).for_each(|piece| tap.push(piece));
            assert_eq!(tap.report().usage.is_some(), wanted, "{filler} in pieces of {piece}");
        }
    }
}
