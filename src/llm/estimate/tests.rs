use super::*;

mod replay;

/// What a stream of `deltas` words of four letters, each behind a space, has said.
fn words(deltas: u64) -> Tally {
    let mut said = Tally::default();
    (said.deltas, said.words, said.letters) = (deltas, deltas, deltas * 4);
    said
}

fn output(calibration: &Calibration, said: Tally) -> u64 {
    calibration.estimate("m", 0, Shown::Stream(said)).output
}

fn learn(calibration: &Calibration, said: Tally, usage: Usage) {
    calibration.learn(&"m".into(), 0, Shown::Stream(said), &usage);
}

fn tokens(output: u64) -> Usage {
    Usage { output, ..Usage::default() }
}

#[test]
fn an_unknown_model_spends_tokens_as_most_do() {
    let calibration = Calibration::default();
    let usage = calibration.estimate("deepseek", 4_000, Shown::Document(402));
    assert_eq!((usage.input, usage.output), (1_000, 101));
    assert!((90..=130).contains(&output(&calibration, words(100))));
    assert_eq!(output(&calibration, Tally::default()), 0);
}

#[test]
fn completed_documents_bring_the_estimate_within_a_tenth() {
    let calibration = Calibration::default();
    let alias: Arc<str> = "claude-sonnet".into();
    // 3 characters a token out, 5 bytes a token in, in answers of uneven length.
    for chars in [900, 4_500, 60, 12_000, 2_100] {
        let usage = Usage { input: chars * 4, output: chars / 3, ..Usage::default() };
        calibration.learn(&alias, usize::try_from(chars * 20).unwrap(), Shown::Document(chars), &usage);
    }
    let usage = calibration.estimate("claude-sonnet", 50_000, Shown::Document(3_000));
    assert!((900..=1_100).contains(&usage.output), "{usage:?}");
    assert!((9_000..=11_000).contains(&usage.input), "{usage:?}");
}

#[test]
fn a_model_that_changes_is_followed_and_zeros_teach_nothing() {
    let calibration = Calibration::default();
    for per_word in [1, 2] {
        for answer in 0..600 {
            let said = words(100 + answer % 7);
            learn(&calibration, said, tokens(said.words * per_word));
        }
    }
    learn(&calibration, Tally::default(), tokens(1_000_000));
    learn(&calibration, words(1_000), tokens(0));
    let output = output(&calibration, words(1_000));
    assert!((1_900..=2_100).contains(&output), "{output}");
}

#[test]
fn usage_that_cannot_be_true_moves_an_estimate_only_so_far() {
    let calibration = Calibration::default();
    let honest = || (0..20).for_each(|_| learn(&calibration, words(100), tokens(100)));
    honest();
    let absurd = Usage { input: 1_000_000_000, ..tokens(1_000_000_000) };
    calibration.learn(&"m".into(), 1_000, Shown::Stream(words(100)), &absurd);
    assert!((95..=125).contains(&output(&calibration, words(100))), "one liar is hardly heard");
    assert!(calibration.estimate("m", 4_000, Shown::Document(0)).input <= 4_000, "no byte is more than a token");
    for _ in 0..1_000 {
        learn(&calibration, words(100), absurd);
    }
    assert!(output(&calibration, words(100)) < 500, "and no number of them makes more than four times of it");
    (0..5).for_each(|_| honest());
    (0..500).for_each(|_| learn(&calibration, words(100), tokens(100)));
    assert!((90..=115).contains(&output(&calibration, words(100))), "{}", output(&calibration, words(100)));
}

#[test]
fn reasoning_that_is_counted_and_not_shown_is_added_once_the_answer_has_begun() {
    let calibration = Calibration::default();
    for answer in 0..60 {
        let said = words(100 + answer % 7);
        learn(&calibration, said, Usage { reasoning: 1_000, ..tokens(said.words + 1_000) });
    }
    assert_eq!(output(&calibration, Tally::default()), 0, "who left while it was thinking saw nothing to go by");
    assert!((1_000..=1_100).contains(&output(&calibration, words(50))), "{}", output(&calibration, words(50)));
    // Behind a count of the provider's own there is none to add.
    let more = calibration.estimate("m", 0, Shown::Rest(words(50))).output;
    assert!((48..=52).contains(&more), "{more}");
    // A model that shows its reasoning has it in the text.
    for answer in 0..60 {
        let said = words(1_000 + answer % 7);
        calibration.learn(&"shows".into(), 0, Shown::Stream(said), &Usage { reasoning: 800, ..tokens(said.words) });
    }
    let output = calibration.estimate("shows", 0, Shown::Stream(words(500))).output;
    assert!((475..=525).contains(&output), "{output}");
}
