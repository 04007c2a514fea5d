//! The one table of known keys; checking, the JSON Schema and the documentation all read it.

use std::time::Duration;

use toka_kernel::limits;

pub use super::spec::{Behaviour, DefaultValue, KeySpec, Keys, Kind, Need, Section, Shape, Text};

/// Events the bus holds for subscribers that have not read them yet, unless configured.
pub const DEFAULT_BUFFER_SIZE: u64 = 1024;
/// Most events the bus may hold: beyond a million, waiting events are memory that nobody reads.
pub const MAX_BUFFER_SIZE: u64 = 1 << 20;
/// Milliseconds between two looks of the scheduler at what is due, unless configured.
pub const DEFAULT_SCHEDULER_TICK_MS: u64 = 100;
/// Longest scheduler tick: above a minute, cron expressions would miss their minute.
pub const MAX_SCHEDULER_TICK_MS: u64 = 60_000;
/// File of the secret store, unless configured.
pub const DEFAULT_SECRET_STORE: &str = "secrets.db";
/// Bytes of the largest file that the indexer reads, unless configured.
pub const MAX_FILE_BYTES_DEFAULT: u64 = 4 << 20;
/// Largest value of `max_file_bytes`: a file is held in memory while it is cut into chunks.
pub const MAX_FILE_BYTES_LIMIT: u64 = 64 << 20;
/// Most rules of one agent about whose files are: each file is compared with all of them.
const MAX_SUBJECTS: usize = 1000;
/// Most tasks of one agent: the kernel's own limit, so that a longer list fails here and with a line.
const MAX_TASKS: usize = 10_000;
/// Most rules of `retain`: each is looked at for each event.
const MAX_RETAIN: usize = 100;
/// Most rules of a policy: it has no more parts than that.
const MAX_RULES: usize = toka_kernel::policy::MAX_PARTS;
/// Where the API of an embedder of the kind `openai` begins, unless configured.
pub const DEFAULT_EMBEDDER_URL: &str = "https://api.openai.com/v1";
/// Most components of a vector that a service can be asked for: the vault keeps no more.
pub const MAX_EMBEDDER_DIMENSIONS: u64 = 16_384;
/// The kinds of embedders, each with the feature without which a build does not have it.
pub(super) const EMBEDDER_KINDS: &[(&str, Option<&str>)] =
    &[("lexical", None), ("local", Some("embed-local")), ("openai", Some("embed-http"))];
/// The search engine that needs the feature `search-tantivy`.
pub(super) const TANTIVY: &str = "tantivy";
/// Time between two compactions, unless configured.
pub const DEFAULT_COMPACT_EVERY: &str = "1h";
/// Shortest time between two compactions: each reads all headers.
const MIN_COMPACT: Duration = Duration::from_secs(1);
/// Shortest interval of `every`: the scheduler cannot tick faster.
const MIN_EVERY: Duration = Duration::from_millis(1);
/// Longest interval of `every`: ten years; what is meant to happen less often is a typo.
const MAX_EVERY: Duration = Duration::from_secs(3653 * 24 * 60 * 60);

/// Longest time that a call waits for a person, unless configured: as long as the kernel lets a question stand.
pub const DEFAULT_TIME_LIMIT: &str = "1d";
/// Longest time that can be configured: nothing waits longer than the question stands.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

const SCHEDULER_TICK_MS: KeySpec = KeySpec {
    name: "scheduler_tick_ms",
    kind: Kind::Integer { min: 1, max: MAX_SCHEDULER_TICK_MS },
    need: Need::Default(DefaultValue::Integer(DEFAULT_SCHEDULER_TICK_MS)),
    doc: "Milliseconds between two looks of the scheduler at what is due.",
};

const SECRET_STORE: KeySpec = KeySpec {
    name: "secret_store",
    kind: Kind::Text(Text::Path),
    need: Need::Default(DefaultValue::Text(DEFAULT_SECRET_STORE)),
    doc: "File of the secret store, created by builds with the feature `secrets`.",
};

/// A bound that can be lowered from what the kernel has.
const fn bound(name: &'static str, max: u64, doc: &'static str) -> KeySpec {
    KeySpec { name, kind: Kind::Integer { min: 1, max }, need: Need::Optional, doc }
}

/// Keys that stand at top level as well as in `[event_bus]`, where TOML puts them if they follow its header.
pub(super) const ROOT: Keys = Keys { keys: &[SCHEDULER_TICK_MS, SECRET_STORE], one_of: &[] };
/// The section that shares the keys of [`ROOT`].
pub(super) const ROOT_HOME: &str = "event_bus";

/// Every section.
pub const SECTIONS: &[Section] = &[
    Section {
        name: ROOT_HOME,
        doc: "The bus between the log and its subscribers.",
        feature: None,
        shape: Shape::Keys(&Keys {
            keys: &[
                KeySpec {
                    name: "buffer_size",
                    kind: Kind::Integer { min: 1, max: MAX_BUFFER_SIZE },
                    need: Need::Default(DefaultValue::Integer(DEFAULT_BUFFER_SIZE)),
                    doc: "Events held in memory for subscribers that have not read them yet.",
                },
                SCHEDULER_TICK_MS,
                SECRET_STORE,
            ],
            one_of: &[],
        }),
    },
    Section {
        name: "vault",
        doc: "The durable event store; without this section the nearest `.toka` folder is used.",
        feature: Some("vault"),
        shape: Shape::Keys(&Keys {
            keys: &[
                KeySpec {
                    name: "path",
                    kind: Kind::Text(Text::Path),
                    need: Need::Optional,
                    doc: "Folder of the vault; without this key, as without this section.",
                },
                KeySpec {
                    name: "retain",
                    kind: Kind::Tables { keys: &RETAIN, distinct: "kind", max: MAX_RETAIN },
                    need: Need::Optional,
                    doc: "How long content is kept; without this key, for ever. Headers, facts and proofs always stay.",
                },
                KeySpec {
                    name: "compact_every",
                    kind: Kind::Text(Text::Duration { min: MIN_COMPACT, max: MAX_EVERY }),
                    need: Need::Default(DefaultValue::Text(DEFAULT_COMPACT_EVERY)),
                    doc: "How often a running runtime drops the content that `retain` lets go.",
                },
            ],
            one_of: &[],
        }),
    },
    Section {
        name: "embedder",
        doc: "What turns passages into vectors for `search`, beside what the vault itself teaches.",
        feature: None,
        shape: Shape::Keys(&Keys {
            keys: &[
                KeySpec {
                    name: "kind",
                    kind: Kind::Text(Text::Choice(&["lexical", "local", "openai"])),
                    need: Need::Default(DefaultValue::Text("lexical")),
                    doc: "`lexical`: nothing more; `local`: a model in a folder, computed on this machine (feature `embed-local`); `openai`: a service with OpenAI's API, which the passages are sent to (feature `embed-http`).",
                },
                KeySpec {
                    name: "path",
                    kind: Kind::Text(Text::Path),
                    need: Need::Optional,
                    doc: "Of `local`: the folder of a sentence-transformers model, as of all-MiniLM-L6-v2.",
                },
                KeySpec {
                    name: "base_url",
                    kind: Kind::Text(Text::Any),
                    need: Need::Optional,
                    doc: "Of `openai`: where the API begins; without this key, `https://api.openai.com/v1`.",
                },
                KeySpec {
                    name: "model",
                    kind: Kind::Text(Text::Any),
                    need: Need::Optional,
                    doc: "Of `openai`: the name of the model, as `text-embedding-3-small`.",
                },
                KeySpec {
                    name: "api_key",
                    kind: Kind::Text(Text::Secret),
                    need: Need::Optional,
                    doc: "Of `openai`: the key, best as a variable: `${OPENAI_API_KEY}`.",
                },
                KeySpec {
                    name: "dimensions",
                    kind: Kind::Integer { min: 1, max: MAX_EMBEDDER_DIMENSIONS },
                    need: Need::Optional,
                    doc: "Of `openai`: how many components to ask for, of a model that gives as many as it is asked for.",
                },
            ],
            one_of: &[],
        }),
    },
    Section {
        name: "search",
        doc: "How what is indexed is searched.",
        feature: Some("search"),
        shape: Shape::Keys(&Keys {
            keys: &[KeySpec {
                name: "engine",
                kind: Kind::Text(Text::Choice(&["builtin", TANTIVY])),
                need: Need::Optional,
                doc: "What finds words: `builtin`, or `tantivy` for large vaults, which needs the feature `search-tantivy` and a vault that is not sealed. Without this key, what the vault has had; at first `builtin`.",
            }],
            one_of: &[],
        }),
    },
    Section {
        name: "policy",
        doc: "Where data may flow, beside the rules that are always there.",
        feature: None,
        shape: Shape::Keys(&Keys {
            keys: &[KeySpec {
                name: "rules",
                kind: Kind::Tables { keys: &RULE, distinct: "name", max: MAX_RULES },
                need: Need::Optional,
                doc: "What holds where data with some labels reaches some sinks. The most specific rules decide, and the strictest of them; their order means nothing.",
            }],
            one_of: &[],
        }),
    },
    Section {
        name: "approvals",
        doc: "What a call does that a person has to allow.",
        feature: None,
        shape: Shape::Keys(&Keys {
            keys: &[
                KeySpec {
                    name: "when_asked",
                    kind: Kind::Text(Text::Choice(&["wait", "fail", "deny"])),
                    need: Need::Optional,
                    doc: "`wait` for the person; `fail` at once, and the question stays for a later run; or `deny`: the call is refused and nobody is asked. Without this key, a run that ends by itself fails and any other waits.",
                },
                KeySpec {
                    name: "time_limit",
                    kind: Kind::Text(Text::Duration { min: MIN_EVERY, max: MAX_WAIT }),
                    need: Need::Default(DefaultValue::Text(DEFAULT_TIME_LIMIT)),
                    doc: "How long a call waits at most; then the question is taken back and the call refused.",
                },
            ],
            one_of: &[],
        }),
    },
    Section {
        name: "tokens",
        doc: "What carries grants across the edge of the process.",
        feature: Some("auth"),
        shape: Shape::Keys(&Keys {
            keys: &[
                KeySpec {
                    name: "scheme",
                    kind: Kind::Text(Text::Choice(&["operator", "eddsa", "hs256"])),
                    need: Need::Default(DefaultValue::Text("operator")),
                    doc: "What is issued: `operator`, the form that the build signs with the operator's key, which is a Biscuit where it has them; `eddsa`, a JWT that the same key signs; or `hs256`, a JWT under a shared secret, which whoever verifies it can forge. The first two are accepted together, the last by itself.",
                },
                KeySpec {
                    name: "secret_file",
                    kind: Kind::Text(Text::Path),
                    need: Need::Optional,
                    doc: "Of `hs256`: the file of the secret, 32 to 1024 random bytes that only its owner may read.",
                },
            ],
            one_of: &[],
        }),
    },
    Section {
        name: "limits",
        doc: "Bounds that shall be lower than the kernel's own; without this section those of the log stay.",
        feature: None,
        shape: Shape::Keys(&Keys {
            keys: &[
                bound("agents", limits::MAX_AGENTS as u64, "Most agents, stopped ones included."),
                bound("people", limits::MAX_USERS as u64, "Most people."),
                bound("tasks", limits::MAX_TASKS as u64, "Most tasks of one agent."),
                bound(
                    "approvals",
                    limits::MAX_APPROVALS as u64,
                    "Most approvals of one agent that wait or hold.",
                ),
                bound(
                    "observations",
                    limits::MAX_OBSERVATIONS as u64,
                    "Most observations in one operation: a file of many passages is one.",
                ),
                bound("observation_bytes", limits::MAX_OBSERVATION as u64, "Most bytes of one observation."),
                bound("message_bytes", limits::MAX_MESSAGE as u64, "Most bytes of a message."),
                bound("task_bytes", limits::MAX_TASK as u64, "Most bytes of a task's description."),
                bound("argument_bytes", limits::MAX_ARGUMENTS as u64, "Most bytes of a tool's arguments."),
                bound(
                    "approval_seconds",
                    limits::APPROVAL_TIME as u64 / 1_000_000,
                    "Most seconds that a person has to decide about a call that the policy asks about.",
                ),
            ],
            one_of: &[],
        }),
    },
    Section {
        name: "agents",
        doc: "The agents to start, in this order.",
        feature: None,
        shape: Shape::Agents(&Keys {
            keys: &[
                KeySpec {
                    name: "name",
                    kind: Kind::Text(Text::Name),
                    need: Need::Required,
                    doc: "Name of the agent, different from every other agent's.",
                },
                KeySpec {
                    name: "behaviour",
                    kind: Kind::Text(Text::Name),
                    need: Need::Like("name"),
                    doc: "What the agent does: the name of a compiled-in behaviour.",
                },
                KeySpec {
                    name: "grant",
                    kind: Kind::Texts(Text::Capability),
                    need: Need::Optional,
                    doc: "Capabilities of the agent; without this key, those its behaviour needs.",
                },
            ],
            one_of: &[],
        }),
    },
    Section {
        name: "drivers",
        doc: "Storage drivers, one table each; their keys are described with the driver.",
        feature: None,
        shape: Shape::Adapters { noun: "driver", known: &["s3", "notion"] },
    },
    Section {
        name: "providers",
        doc: "Payment providers, one table each; their keys are described with the provider.",
        feature: None,
        shape: Shape::Adapters { noun: "provider", known: &["stripe"] },
    },
];

/// Every compiled-in behaviour. Programs that embed the runtime may bring others.
pub const BEHAVIOURS: &[Behaviour] = &[
    Behaviour {
        name: "Logger",
        doc: "Prints every event it sees.",
        keys: &Keys {
            keys: &[KeySpec {
                name: "kinds",
                kind: Kind::Texts(Text::KindPrefix),
                need: Need::Optional,
                doc: "Print only events whose kind begins with one of these; without this key, all.",
            }],
            one_of: &[],
        },
    },
    Behaviour { name: "IndexerAgent", doc: "Indexes a folder and follows its changes.", keys: &INDEXER },
    Behaviour {
        name: "SchedulerAgent",
        doc: "Emits events or sends messages at given times.",
        keys: &SCHEDULER,
    },
];

const RULE: Keys = Keys {
    keys: &[
        KeySpec {
            name: "name",
            kind: Kind::Text(Text::RuleName),
            need: Need::Required,
            doc: "Name of the rule, under which refusals and `toka policy` speak of it.",
        },
        KeySpec {
            name: "labels",
            kind: Kind::Texts(Text::Labels),
            need: Need::Optional,
            doc: "Labels it is about, any of them, such as `untrusted:**` or `secret:stripe`; without this key the call itself, whatever labels its data has.",
        },
        KeySpec {
            name: "sinks",
            kind: Kind::Texts(Text::Choice(&["none", "write", "external"])),
            need: Need::Optional,
            doc: "Kinds of sinks it is about; without this key, all.",
        },
        KeySpec {
            name: "to",
            kind: Kind::Texts(Text::Calls),
            need: Need::Optional,
            doc: "Calls it is about, any of them, as capabilities: `tool:mail.**`, `tool:http.post(host=api.stripe.com)`; without this key, all.",
        },
        KeySpec {
            name: "verdict",
            kind: Kind::Text(Text::Choice(&["allow", "ask", "deny"])),
            need: Need::Required,
            doc: "What holds there: `allow`, `ask` (a person is asked) or `deny`.",
        },
    ],
    one_of: &[],
};

const RETAIN: Keys = Keys {
    keys: &[
        KeySpec {
            name: "kind",
            kind: Kind::Text(Text::KindPrefix),
            need: Need::Optional,
            doc: "Beginning of the kinds of events whose content it is about; without this key, all kinds.",
        },
        KeySpec {
            name: "age",
            kind: Kind::Text(Text::Duration { min: Duration::ZERO, max: MAX_EVERY }),
            need: Need::Optional,
            doc: "Content of older events goes.",
        },
        KeySpec {
            name: "size",
            kind: Kind::Text(Text::Size),
            need: Need::Optional,
            doc: "Most bytes of content that are kept, the newest ones, such as `500 MiB` or `1 GiB`.",
        },
        KeySpec {
            name: "live",
            kind: Kind::Flag,
            need: Need::Default(DefaultValue::Flag(false)),
            doc: "Let go of the passages of files too that are still there, which search needs.",
        },
    ],
    one_of: &[],
};

const INDEXER: Keys = Keys {
    keys: &[
        KeySpec {
            name: "scan_path",
            kind: Kind::Text(Text::Path),
            need: Need::Required,
            doc: "Folder to index.",
        },
        KeySpec {
            name: "include",
            kind: Kind::Texts(Text::Glob),
            need: Need::Optional,
            doc: "Index only files that match one of these patterns; without this key, all.",
        },
        KeySpec {
            name: "exclude",
            kind: Kind::Texts(Text::Glob),
            need: Need::Optional,
            doc: "Leave out files that match one of these patterns.",
        },
        KeySpec {
            name: "watch",
            kind: Kind::Flag,
            need: Need::Default(DefaultValue::Flag(true)),
            doc: "Follow changes of the folder after the first pass.",
        },
        KeySpec {
            name: "max_file_bytes",
            kind: Kind::Integer { min: 1, max: MAX_FILE_BYTES_LIMIT },
            need: Need::Default(DefaultValue::Integer(MAX_FILE_BYTES_DEFAULT)),
            doc: "Skip files larger than this many bytes.",
        },
        KeySpec {
            name: "hidden",
            kind: Kind::Flag,
            need: Need::Default(DefaultValue::Flag(false)),
            doc: "Index hidden files too.",
        },
        KeySpec {
            name: "subjects",
            kind: Kind::Tables { keys: &SUBJECT, distinct: "glob", max: MAX_SUBJECTS },
            need: Need::Optional,
            doc: "Whose the files are: what is recorded of those that match carries the label `subject:NAME`, by which it can be erased. The first that matches counts.",
        },
    ],
    one_of: &[],
};

const SUBJECT: Keys = Keys {
    keys: &[
        KeySpec {
            name: "glob",
            kind: Kind::Text(Text::Glob),
            need: Need::Required,
            doc: "Files that match this pattern.",
        },
        KeySpec {
            name: "subject",
            kind: Kind::Text(Text::Name),
            need: Need::Required,
            doc: "Name of the subject: it stands in labels, which anybody can read and nothing erases.",
        },
    ],
    one_of: &[],
};

const SCHEDULER: Keys = Keys {
    keys: &[
        KeySpec {
            name: "default_driver",
            kind: Kind::Text(Text::Name),
            need: Need::Optional,
            doc: "Storage that tasks get when they name none; a driver that is absent is reported and `local` used.",
        },
        KeySpec {
            name: "tasks",
            kind: Kind::Tables { keys: &TASK, distinct: "name", max: MAX_TASKS },
            need: Need::Optional,
            doc: "What to do, and when.",
        },
    ],
    one_of: &[],
};

const TASK: Keys = Keys {
    keys: &[
        KeySpec {
            name: "name",
            kind: Kind::Text(Text::Name),
            need: Need::Required,
            doc: "Name of the task, different from every other task's of the agent.",
        },
        KeySpec {
            name: "cron",
            kind: Kind::Text(Text::Cron),
            need: Need::Optional,
            doc: "When to run, as a cron expression of five fields, or six with seconds first.",
        },
        KeySpec {
            name: "every",
            kind: Kind::Text(Text::Duration { min: MIN_EVERY, max: MAX_EVERY }),
            need: Need::Optional,
            doc: "When to run, as an interval such as `30s`, `5m`, `1h` or `1d`.",
        },
        KeySpec {
            name: "emit",
            kind: Kind::Text(Text::EventKind),
            need: Need::Optional,
            doc: "Kind of the event to emit.",
        },
        KeySpec {
            name: "send_to",
            kind: Kind::Text(Text::Name),
            need: Need::Optional,
            doc: "Name of the agent to send the message to.",
        },
        KeySpec {
            name: "message",
            kind: Kind::Text(Text::Any),
            need: Need::Optional,
            doc: "Content of the event or the message.",
        },
        KeySpec {
            name: "missed",
            kind: Kind::Text(Text::Choice(&["skip", "once", "all"])),
            need: Need::Default(DefaultValue::Text("once")),
            doc: "What to do about runs that fell due while nothing ran: leave them out, run once, or run each.",
        },
        KeySpec {
            name: "timezone",
            kind: Kind::Text(Text::TimeZone),
            need: Need::Default(DefaultValue::Text("UTC")),
            doc: "Time zone of `cron`, by its IANA name.",
        },
    ],
    one_of: &[&["cron", "every"], &["emit", "send_to"]],
};

/// A key as documentation shows it.
#[derive(Clone, Debug)]
pub struct DocumentedKey {
    /// Where it stands: `event_bus.buffer_size`, `agents.name`, `agents(SchedulerAgent).tasks.cron`.
    pub path: String,
    /// The key itself.
    pub spec: KeySpec,
}

/// Every key of [`SECTIONS`], of the top level and of [`BEHAVIOURS`], each once per place where it may stand.
pub fn documented_keys() -> impl Iterator<Item = DocumentedKey> {
    let mut found = Vec::new();
    list("", &ROOT, &mut found);
    for section in SECTIONS {
        if let Shape::Keys(keys) | Shape::Agents(keys) = section.shape {
            list(&format!("{}.", section.name), keys, &mut found);
        }
    }
    for behaviour in BEHAVIOURS {
        list(&format!("agents({}).", behaviour.name), behaviour.keys, &mut found);
    }
    found.into_iter()
}

fn list(prefix: &str, keys: &'static Keys, found: &mut Vec<DocumentedKey>) {
    for spec in keys.keys {
        found.push(DocumentedKey { path: format!("{prefix}{}", spec.name), spec: *spec });
        if let Kind::Tables { keys, .. } = spec.kind {
            list(&format!("{prefix}{}.", spec.name), keys, found);
        }
    }
}

/// The behaviour of that name.
pub(super) fn behaviour(name: &str) -> Option<&'static Behaviour> {
    BEHAVIOURS.iter().find(|known| known.name == name)
}

/// The section of that name.
pub(super) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|known| known.name == name)
}

/// The keys that agents of every behaviour take.
pub(super) fn agent_keys() -> &'static [KeySpec] {
    SECTIONS
        .iter()
        .find_map(|section| if let Shape::Agents(keys) = section.shape { Some(keys.keys) } else { None })
        .unwrap_or(&[])
}
