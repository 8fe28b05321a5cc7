//! The inference rules of the shipped `conf/models.yaml`, against what people write to their agents.
#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::sync::LazyLock;

use cfx::config::{Overrides, Snapshot, Source, load};
use cfx::units::Stage;

/// What the engine does with the rules, with the simplest notion of a diff.
fn infer(message: &str) -> Stage {
    static SHIPPED: LazyLock<Snapshot> = LazyLock::new(|| {
        load(&Source::Embedded, &Overrides::default(), &|_| None).unwrap_or_else(|problems| panic!("{problems}"))
    });
    let snapshot = &*SHIPPED;
    let has_diff = message.contains("\n@@ ");
    let rule = snapshot.models.infer.iter().find(|rule| {
        rule.last_user_message.as_ref().is_none_or(|pattern| pattern.is_match(message))
            && rule.has_diff.is_none_or(|wanted| wanted == has_diff)
    });
    rule.map_or(snapshot.models.default_stage, |rule| rule.stage)
}

fn roo(mode: &str, text: &str) -> String {
    format!(
        "<task>\n{text}\n</task>\n\n<environment_details>\n# VSCode Visible Files\nsrc/review.rs\nsrc/fix_audit.rs\n\n\
         # Current Mode\n<slug>{mode}</slug>\n<name>{mode}</name>\n\n# Current Workspace Directory (/app) Files\n\
         docs/security review.md\nimplement the plan.md\n</environment_details>"
    )
}

fn cline(mode: &str, text: &str) -> String {
    format!(
        "<task>\n{text}\n</task>\n<environment_details>\nsrc/review.ts\n# Current Mode\n{mode} MODE\n</environment_details>"
    )
}

const DIFF: &str = "\n```diff\n--- a/x.rs\n+++ b/x.rs\n@@ -1 +1 @@\n-let a = 1;\n+let a = 2;\n```";

#[test]
fn requests_for_a_plan() {
    for text in [
        "Plan how to add OAuth login to this app",
        "How would you implement rate limiting here?",
        "Design a caching layer for the product catalogue",
        "Explain how the fix in auth.rs works",
        "What does this function do?",
        "Write a detailed implementation plan for the migration to Postgres",
        "I want to add multi-tenancy. How should I approach it?",
        "Let's think about the architecture before writing any code",
        "Add pagination to the users endpoint, but don't write any code yet, just a plan",
        "Why does the test in user_spec fail?",
        "Compare Redis and Postgres for the job queue",
        "hello",
        "I'd like to understand the event loop",
        "Break down the work for the new billing page into tasks",
        "what's the best way to refactor this module?",
        "I need a roadmap for splitting the monolith into services",
        "What are my options for real-time notifications?",
        "Could you outline the steps to upgrade from React 17 to 19?",
        "Architecture question: should sessions live in Redis or in the database?",
        "We want to support offline mode. Think about what has to change.",
        "Help me understand how middleware ordering works in this project",
        "Where is the retry logic implemented?",
        "Give me an overview of the codebase",
        "Before we start: what would the data model look like for teams and roles?",
        "Estimate the effort for moving to Kubernetes",
        "Create a step-by-step plan to add i18n",
        "Propose an API for webhooks",
        "Analyze the repository structure and tell me what each folder is for",
        "Document the approach we should take for sharding. No implementation.",
        "Is it possible to stream responses with the current server?",
        "Let's design the schema for invoices",
    ] {
        assert_eq!(infer(text), Stage::Plan, "{text}");
        assert_eq!(infer(&roo("architect", text)), Stage::Plan, "{text}");
    }
    for text in ["Implement dark mode", "Add a field to User", "continue"] {
        assert_eq!(infer(&roo("architect", text)), Stage::Plan, "{text}");
        assert_eq!(infer(&cline("PLAN", text)), Stage::Plan, "{text}");
    }
}

#[test]
fn requests_for_code() {
    for text in [
        "Implement pagination for GET /users",
        "Fix the failing test in tests/user.rs",
        "please refactor the parser into its own module",
        "Can you write unit tests for src/price.rs?",
        "Apply the review comments from the pull request",
        "Address the issues found in the review",
        "Find the memory leak in the worker and fix it",
        "I need you to rename `getUser` to `fetchUser` everywhere",
        "Now add error handling to the upload handler",
        "Create a React component that shows the plan of the week",
        "```go main.go\nfunc main() {}\n```\nAdd a flag for the port",
        "The login page doesn't work on Safari: nothing happens when I press the button",
        "Migrate the config loader from JSON to YAML",
        "Give me a bash script that rotates the logs",
        "ok, go ahead and implement step 2 of the plan",
        "I want to add OAuth login",
        "Update the README with the new flags",
        "The submit button stays disabled after a validation error, please fix.",
        "There's a bug in the date picker: selecting Feb 29 throws. Fix it.",
        "TypeError: Cannot read properties of undefined (reading 'map')\n    at List.tsx:14",
        "Make the sidebar collapsible",
        "Write a function to plan routes between two cities",
        "Write a Dockerfile for this service",
        "Implement the design from docs/design.md",
        "Use the new review API in the client",
        "src/lib.rs line 40: off by one. Correct it.",
        "Convert these callbacks to async/await:\n```js\nfs.readFile(a, cb)\n```",
        "Complete this function\n```py\ndef fib(n):\n```",
        "Edit the following code: rename x to count",
        "// Language: python\ndef add(a, b):\n    # TODO\n\nFill in the body",
        "Remove the deprecated v1 endpoints and their tests",
        "Add a review step to the deploy pipeline",
        "Let's fix the N+1 query in OrdersController",
        "Bump axios to 1.7 and adjust the interceptors",
        "Apply this patch",
        "The review found that user input isn't escaped in render.ts. Please fix that.",
        "Generate TypeScript types from the OpenAPI file",
        "Tests are failing on CI, make them pass",
    ] {
        assert_eq!(infer(text), Stage::Code, "{text}");
        assert_eq!(infer(&roo("code", text)), Stage::Code, "{text}");
        assert_eq!(infer(&cline("ACT", text)), Stage::Code, "{text}");
    }
    assert_eq!(infer(&roo("code", "yes")), Stage::Code);
    assert_eq!(infer(DIFF), Stage::Code);
    assert_eq!(infer("[apply_diff for 'src/x.rs'] Result:\n\nThe content was saved."), Stage::Code);
}

#[test]
fn requests_for_a_review() {
    for text in [
        "Review this pull request",
        "please review src/auth.rs for security problems",
        "Audit the payment module",
        "Find risks in this migration",
        "Are there any bugs in this function?",
        "What could go wrong with this change?",
        "Is this safe to merge?",
        "Do a thorough security review of the upload handler",
        "Can you look for race conditions in the cache?",
        "Here is my change, do you see any issues with it?",
        "Check the login code for SQL injection",
        "```rs\nlet a = 1;\n```\nGive me a code review",
        "I'd like you to critique this design",
        "Take a look at src/cache.rs and tell me what's wrong with it",
        "Security audit of the auth module, please",
        "Does this code have any vulnerabilities?",
        "Look at my changes and point out potential problems",
        "Code review: src/payments/*.ts",
        "What are the risks of merging this branch?",
        "Can you double-check my SQL for injection?",
        "Give feedback on this PR",
        "Verify that the error handling in upload.go is correct",
        "Check this implementation for edge cases",
        "Identify potential security vulnerabilities in the following code and rate their severity",
        "Do you see problems with this approach?\n```rs\nunsafe {}\n```",
        "Act as a senior engineer and review the diff below.",
        "I've finished the feature. Review the changes on this branch and list risks, don't change any code.",
        "Is there anything risky in how we handle tokens?",
        "Examine the concurrency in pool.rs for deadlocks",
    ] {
        assert_eq!(infer(text), Stage::Review, "{text}");
        assert_eq!(infer(&roo("code", text)), Stage::Review, "{text}");
        assert_eq!(infer(&cline("ACT", text)), Stage::Review, "{text}");
    }
    assert_eq!(infer(&format!("Review this diff{DIFF}")), Stage::Review);
    assert_eq!(infer(&format!("{DIFF}\nIs it correct?")), Stage::Review);
}
