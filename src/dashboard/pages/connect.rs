//! Settings to be copied, for the clients that people use, with this edge's own address in them.

use axum::Extension;
use axum::response::Response;
use maud::html;

use crate::control::api::Offer;
use crate::dashboard::frame::{self, Here, Page};
use crate::dashboard::parts::copyable;
use crate::dashboard::shown::price;
use crate::dashboard::signed::Signed;
use crate::units::Stage;

/// A client and what is to be written where. `{base}` is this edge's origin, `{plan}` and `{code}` what asks for the stages.
struct Recipe {
    name: &'static str,
    /// The file, or where in the program; the same in every language, as the program writes it.
    place: &'static str,
    text: &'static str,
}

const RECIPES: [Recipe; 8] = [
    Recipe {
        name: "Roo Code",
        place: "Settings → Providers",
        text: "API Provider   OpenAI Compatible\nBase URL       {base}/v1\nAPI Key        cfx_live_…\nModel          {plan} for Architect, {code} for Code",
    },
    Recipe {
        name: "Cline",
        place: "Settings → API Configuration",
        text: "API Provider   OpenAI Compatible\nBase URL       {base}/v1\nAPI Key        cfx_live_…\nModel ID       {plan} in Plan mode, {code} in Act mode",
    },
    Recipe {
        name: "Continue",
        place: "~/.continue/config.yaml",
        text: "name: CF-X\nversion: 1.0.0\nschema: v1\nmodels:\n  - name: CF-X code\n    provider: openai\n    model: {code}\n    apiBase: {base}/v1\n    apiKey: cfx_live_…\n    roles: [chat, edit, apply]",
    },
    Recipe {
        name: "Codex CLI",
        place: "~/.codex/config.toml",
        text: "model = \"{code}\"\nmodel_provider = \"cfx\"\n\n[model_providers.cfx]\nname = \"CF-X\"\nbase_url = \"{base}/v1\"\nenv_key = \"CFX_API_KEY\"\nwire_api = \"responses\"",
    },
    Recipe {
        name: "Claude Code",
        place: "shell",
        text: "export ANTHROPIC_BASE_URL={base}\nexport ANTHROPIC_AUTH_TOKEN=\"$CFX_API_KEY\"\nexport ANTHROPIC_MODEL={code}\nclaude",
    },
    Recipe {
        name: "curl",
        place: "shell",
        text: "curl -N {base}/v1/chat/completions \\\n  -H \"Authorization: Bearer $CFX_API_KEY\" \\\n  -H \"Content-Type: application/json\" \\\n  -d '{\"model\": \"{plan}\", \"stream\": true,\n       \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'",
    },
    Recipe {
        name: "Python",
        place: "pip install openai",
        text: "import os\nfrom openai import OpenAI\n\nclient = OpenAI(\n    base_url=\"{base}/v1\",\n    api_key=os.environ[\"CFX_API_KEY\"],\n)\nstream = client.chat.completions.create(\n    model=\"{code}\",\n    messages=[{\"role\": \"user\", \"content\": \"Hello\"}],\n    stream=True,\n)\nfor chunk in stream:\n    for choice in chunk.choices:\n        text = choice.delta.content or \"\"\n        print(text, end=\"\", flush=True)",
    },
    Recipe {
        name: "Node",
        place: "npm install openai",
        text: "import OpenAI from \"openai\";\n\nconst client = new OpenAI({\n  baseURL: \"{base}/v1\",\n  apiKey: process.env.CFX_API_KEY,\n});\nconst stream = await client.chat.completions.create({\n  model: \"{code}\",\n  messages: [{ role: \"user\", content: \"Hello\" }],\n  stream: true,\n});\nfor await (const chunk of stream) {\n  const text = chunk.choices[0]?.delta?.content ?? \"\";\n  process.stdout.write(text);\n}",
    },
];

impl Recipe {
    fn filled(&self, base: &str) -> String {
        let text = self.text.replace("{base}", base);
        text.replace("{plan}", asked_as("plan")).replace("{code}", asked_as("code"))
    }
}

pub(super) async fn page(Extension(signed): Extension<Signed>) -> Response {
    let (texts, language) = (signed.visitor.texts(), signed.visitor.language);
    let base = signed.dashboard.public_url.clone().unwrap_or_else(|| signed.visitor.origin.url());
    let offer = signed.dashboard.edge.get::<Offer>(&signed.visitor, "/api/models").await;
    let dollars =
        |dollars: Option<f64>| dollars.map_or_else(|| texts.none.to_owned(), |dollars| price(language, dollars));
    let body = html! {
        header.heading { h1 { (texts.connect) } p.soft { (texts.connect_words) } }
        section.panel aria-labelledby="base" {
            h2 #base { (texts.base_url) }
            (copyable(texts, texts.base_url, &format!("{base}/v1")))
            p.hint { (texts.base_url_words) }
            p.actions { a.button href="/keys" { (texts.make_key) } }
        }
        section.panel aria-labelledby="offer" {
            h2 #offer { (texts.what_to_ask_for) }
            @match &offer {
                Err(_) => p.soft { (texts.offer_unread) },
                Ok(offer) => {
                    dl.facts {
                        @for stage in &offer.stages { div { dt { code { (asked_as(&stage.name)) } } dd.breaks { code { (stage.model) } } } }
                    }
                    @if !offer.models.is_empty() {
                        div.scroll tabindex="0" role="group" aria-labelledby="offer" {
                            table.stacks {
                                thead { tr { th scope="col" { (texts.model) } th.number scope="col" { (texts.input_price) } th.number scope="col" { (texts.output_price) } } }
                                tbody { @for model in &offer.models {
                                    tr { td.breaks data-name=(texts.model) { code { (model.alias) } } td.number data-name=(texts.input_price) { (dollars(model.input_price)) } td.number data-name=(texts.output_price) { (dollars(model.output_price)) } }
                                } }
                            }
                        }
                        p.hint { (texts.price_words) " " @if !offer.direct { (texts.no_direct) } }
                    }
                }
            }
        }
        div.recipes {
            @for recipe in &RECIPES {
                section.panel aria-label=(recipe.name) {
                    h2 { (recipe.name) }
                    p.hint { code { (recipe.place) } }
                    (copyable(texts, recipe.name, &recipe.filled(&base)))
                }
            }
        }
    };
    frame::signed(&signed, Page { title: texts.connect, here: Here::Connect, scripts: &[], styles: &[], body })
}

/// What a client sends as `model` for this stage: the name in the list of models, which clients offer to choose from.
pub(super) fn asked_as(stage: &str) -> &str {
    Stage::parse(stage).and_then(Stage::as_model).unwrap_or(stage)
}
