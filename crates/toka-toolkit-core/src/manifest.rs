//! What a tool says about itself.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use toka_types::Sink;
use toka_types::capability::{Argument, ArgumentKind, Capability, is_host, is_path};
use toka_types::path::{for_terminal, normalise};
use toka_types::{Digest, EffectClass, LabelError, Labels, Money, Name, NameError};

use crate::input::{Input, MAX_INPUT};
use crate::schema::{Kind, Schema, SchemaError};
use crate::tool::{Output, ToolError};
use crate::version::{Version, VersionError};

/// Longest description, in bytes: it is shown to models with every request.
pub const MAX_DESCRIPTION: usize = 4096;
/// Most governed arguments: as many as a capability has caveats.
pub const MAX_GOVERNED: usize = toka_types::capability::MAX_CAVEATS;

/// What a tool is called, what it takes, what repeating it would do, and what it may cost in bytes and time.
///
/// Calling the tool needs the capability `tool:<id>`, whose caveats may name the governed arguments.
#[derive(Clone, Debug)]
pub struct Manifest {
    id: Name,
    version: Version,
    description: String,
    effect: EffectClass,
    sink: Sink,
    input: Schema,
    governed: Vec<(String, ArgumentKind)>,
    control: Option<Vec<String>>,
    minted: Vec<String>,
    labels: Labels,
    limits: Limits,
    record: Record,
    digest: Digest,
}

/// Bounds of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of canonical arguments.
    pub input_bytes: usize,
    /// Most bytes of output: raw data, and JSON without it.
    pub output_bytes: usize,
    /// Longest duration.
    pub timeout: Duration,
}

/// What the event of an outcome carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// The output, as the event's content.
    Content,
    /// The output's digest and size alone, for data that lies elsewhere already.
    Digest,
}

/// What keeps a manifest from being built.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ManifestError {
    /// The id is no name.
    #[error(transparent)]
    Id(#[from] NameError),
    /// The id is a name, but no action of a capability.
    #[error("the tool id '{0}' cannot stand in a capability; write segments separated by single dots")]
    Action(String),
    /// The version is none.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// The description is missing or too long.
    #[error("the description has {0} bytes; 1 to {MAX_DESCRIPTION} are allowed")]
    Description(usize),
    /// The effect class is missing.
    #[error("the effect class of '{0}' is missing; only the tool knows what repeating it would do")]
    Effect(String),
    /// The input schema cannot be enforced.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A governed argument does not exist in the schema, or cannot be named in a caveat.
    #[error("the governed argument '{name}': {problem}")]
    Governed {
        /// The argument's name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A control argument does not exist in the schema.
    #[error("the control argument '{0}' is not among the properties of the input")]
    Control(String),
    /// A place in the output is none.
    #[error(
        "'{0}' is no place in an output; write a JSON pointer with '*' for a place in a list, as in '/*/sender'"
    )]
    Minted(String),
    /// An output label is none.
    #[error(transparent)]
    Label(#[from] LabelError),
}

/// Gathers what a [`Manifest`] says; [`build`](Self::build) checks it.
#[derive(Clone, Debug)]
#[must_use]
pub struct ManifestBuilder {
    id: String,
    version: String,
    description: String,
    effect: Option<EffectClass>,
    sink: Option<Sink>,
    input: Value,
    governed: Vec<(String, ArgumentKind)>,
    control: Option<Vec<String>>,
    minted: Vec<String>,
    labels: Vec<String>,
    limits: Limits,
    record: Record,
}

impl Default for Limits {
    /// 64 KiB of arguments, 1 MiB of output, 30 seconds: enough for a question and an answer that a model
    /// could read; a tool for more says so.
    fn default() -> Self {
        Self { input_bytes: 64 << 10, output_bytes: 1 << 20, timeout: Duration::from_secs(30) }
    }
}

impl ManifestBuilder {
    /// What the tool does, for people and models. Required.
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = text.into();
        self
    }

    /// What repeating a call would do. Required.
    pub fn effect(mut self, effect: EffectClass) -> Self {
        self.effect = Some(effect);
        self
    }

    /// Where the arguments of a call go. Without it, what the effect class suggests: nowhere for what is computed or read
    /// here, out to somebody for what is read over the network, into something that stays for what is changed.
    pub fn sink(mut self, sink: Sink) -> Self {
        self.sink = Some(sink);
        self
    }

    /// The [schema](crate::schema) of the arguments. Without it there are none.
    pub fn input(mut self, schema: Value) -> Self {
        self.input = schema;
        self
    }

    /// Lets capabilities restrict the argument `name`, which is of the kind `kind`.
    pub fn governed(mut self, name: impl Into<String>, kind: ArgumentKind) -> Self {
        self.governed.push((name.into(), kind));
        self
    }

    /// The arguments that say to whom and where: payees, recipients, URLs, paths. A [plan](crate::plan) says of each where its
    /// value comes from. Governed paths and hosts are always among them. Without this, every argument of a tool that has a
    /// sink is one.
    pub fn control<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.control = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The fields of the output that the server itself writes, whatever others put into the rest: senders as it checked them,
    /// ids. Each is a JSON pointer with `*` for a place in a list, as in `/*/sender`.
    pub fn minted<S: Into<String>>(mut self, places: impl IntoIterator<Item = S>) -> Self {
        self.minted = places.into_iter().map(Into::into).collect();
        self
    }

    /// Labels that every output carries, beside those of its causes.
    pub fn labels<S: Into<String>>(mut self, labels: impl IntoIterator<Item = S>) -> Self {
        self.labels = labels.into_iter().map(Into::into).collect();
        self
    }

    /// Bounds of one call, in place of the default ones.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What the event of an outcome carries; without it, the output.
    pub fn record(mut self, record: Record) -> Self {
        self.record = record;
        self
    }

    /// Checks all of it.
    ///
    /// # Errors
    /// The first [`ManifestError`].
    pub fn build(self) -> Result<Manifest, ManifestError> {
        let id = Name::new(&self.id)?;
        if format!("tool:{id}").parse::<Capability>().is_err() {
            return Err(ManifestError::Action(self.id));
        }
        if self.description.is_empty() || self.description.len() > MAX_DESCRIPTION {
            return Err(ManifestError::Description(self.description.len()));
        }
        let input = Schema::read(self.input)?;
        check_governed(&self.governed, &input)?;
        if let Some(name) = self.control.iter().flatten().find(|name| input.kind(name).is_none()) {
            return Err(ManifestError::Control(name.clone()));
        }
        if let Some(place) = self.minted.iter().find(|place| !place.starts_with('/')) {
            return Err(ManifestError::Minted(place.clone()));
        }
        let effect = self.effect.ok_or(ManifestError::Effect(self.id))?;
        let mut manifest = Manifest {
            digest: Digest::default(),
            id,
            version: self.version.parse()?,
            description: self.description,
            effect,
            sink: self.sink.unwrap_or(match effect {
                EffectClass::Pure | EffectClass::Read { local: true } => Sink::None,
                EffectClass::Read { local: false } => Sink::External,
                EffectClass::Idempotent | EffectClass::Write => Sink::Write,
            }),
            input,
            governed: self.governed,
            control: self.control,
            minted: self.minted,
            labels: Labels::parse(self.labels)?,
            limits: Limits { input_bytes: self.limits.input_bytes.min(MAX_INPUT), ..self.limits },
            record: self.record,
        };
        manifest.digest = manifest.said();
        Ok(manifest)
    }
}

fn check_governed(governed: &[(String, ArgumentKind)], input: &Schema) -> Result<(), ManifestError> {
    for (i, (name, kind)) in governed.iter().enumerate() {
        let wrong = |problem| Err(ManifestError::Governed { name: name.clone(), problem });
        if i >= MAX_GOVERNED {
            return wrong("is one more than the eight that are allowed");
        }
        if governed[..i].iter().any(|(other, _)| other == name) {
            return wrong("is governed twice");
        }
        if !kind.fits(name) {
            return wrong(
                "its name does not suit its kind: paths end in 'path', hosts in 'host', and no others do",
            );
        }
        let wanted = if *kind == ArgumentKind::Number { Kind::Integer } else { Kind::String };
        match input.kind(name) {
            None => return wrong("is not among the properties of the input"),
            Some((Some(one), _)) if one == wanted => {}
            Some((Some(Kind::Array), Some(each))) if each == wanted => {}
            Some(_) => {
                return wrong("must be of type string (integer for a number), or an array of it");
            }
        }
    }
    Ok(())
}

impl Manifest {
    /// Starts a manifest of the tool `id` (a [`Name`]) in `version` (three numbers).
    pub fn builder(id: impl Into<String>, version: impl Into<String>) -> ManifestBuilder {
        ManifestBuilder {
            id: id.into(),
            version: version.into(),
            description: String::new(),
            effect: None,
            sink: None,
            input: serde_json::json!({"properties": {}}),
            governed: Vec::new(),
            control: None,
            minted: Vec::new(),
            labels: Vec::new(),
            limits: Limits::default(),
            record: Record::Content,
        }
    }

    /// The id, which is the action in `tool:<id>`.
    pub fn id(&self) -> &Name {
        &self.id
    }

    /// The digest of all that it says: of two manifests it is the same if and only if they say the same.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    fn said(&self) -> Digest {
        let governed: Vec<Value> =
            self.governed.iter().map(|(name, kind)| serde_json::json!([name, kind])).collect();
        let Limits { input_bytes, output_bytes, timeout } = self.limits;
        let said = serde_json::json!({
            "id": self.id.as_str(),
            "version": self.version.to_string(),
            "description": self.description,
            "effect": self.effect.as_str(),
            "sink": self.sink.as_str(),
            "governed": governed,
            "labels": self.labels.iter().map(|label| label.as_str()).collect::<Vec<_>>(),
            "limits": [input_bytes, output_bytes, timeout.as_nanos().to_string()],
            "record": self.record,
            "control": self.control,
            "minted": self.minted,
        });
        // The schema is taken as it is written: a manifest that is written otherwise is another one.
        let schema = self.input.source().to_string();
        Digest::of_fields("toka 2026 manifest v1", [said.to_string().as_bytes(), schema.as_bytes()])
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// What the tool does.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// What repeating a call would do.
    pub fn effect(&self) -> EffectClass {
        self.effect
    }

    /// Where the arguments of a call go.
    pub fn sink(&self) -> Sink {
        self.sink
    }

    /// The schema of the arguments.
    pub fn input(&self) -> &Schema {
        &self.input
    }

    /// The arguments that capabilities may restrict.
    pub fn governed(&self) -> &[(String, ArgumentKind)] {
        &self.governed
    }

    /// The arguments that say to whom and where, in the order of their names.
    pub fn control_arguments(&self) -> Vec<String> {
        let places = [ArgumentKind::Path, ArgumentKind::Host];
        let governed = self.governed.iter().filter(|(_, kind)| places.contains(kind)).map(|(name, _)| name);
        let mut names: Vec<String> = match &self.control {
            Some(declared) => declared.iter().chain(governed).cloned().collect(),
            None if self.controls_all() => self.input.names().cloned().collect(),
            None => governed.cloned().collect(),
        };
        names.sort();
        names.dedup();
        names
    }

    /// True if nothing is said of its arguments, and it has a sink: any argument may say to whom or where.
    pub(crate) fn controls_all(&self) -> bool {
        self.control.is_none() && self.sink != Sink::None
    }

    /// True if the argument is an amount of money: how much says no place.
    pub(crate) fn is_money(&self, name: &str) -> bool {
        self.governed.iter().any(|(governed, kind)| governed == name && *kind == ArgumentKind::Money)
    }

    /// The fields of the output that the server itself writes.
    pub fn minted(&self) -> &[String] {
        &self.minted
    }

    /// Labels that every output carries.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Bounds of one call.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What the event of an outcome carries.
    pub fn record(&self) -> Record {
        self.record
    }

    /// Checks `input` against schema and limits and brings its governed paths and hosts into normal form. What
    /// comes out is what is decided about, recorded and handed to the tool.
    ///
    /// # Errors
    /// [`ToolError::InvalidInput`] or [`ToolError::PathEscape`].
    pub fn prepare(&self, input: Input) -> Result<Input, ToolError> {
        let (size, limit) = (input.canonical().len(), self.limits.input_bytes);
        if size > limit {
            return Err(ToolError::InvalidInput(format!(
                "arguments of {size} bytes; '{}' takes at most {limit}",
                self.id
            )));
        }
        self.input.check(input.arguments()).map_err(|e| ToolError::InvalidInput(e.to_string()))?;
        if self.governed.iter().all(|(_, kind)| *kind == ArgumentKind::Text) {
            return Ok(input);
        }
        let mut arguments = input.into_arguments();
        for (name, kind) in &self.governed {
            match arguments.get_mut(name) {
                Some(Value::Array(items)) => items.iter_mut().try_for_each(|v| normal(v, name, *kind))?,
                Some(value) => normal(value, name, *kind)?,
                None => {}
            }
        }
        Ok(Input::from_value(arguments)?)
    }

    /// The governed arguments of `input`, as a request for `tool:<id>` names them. `input` has been through
    /// [`prepare`](Self::prepare); an argument that was not given is left out, and of an array every element
    /// is an argument.
    pub fn arguments<'a>(&'a self, input: &'a Input) -> Vec<(&'a str, Argument<'a>)> {
        let mut arguments = Vec::with_capacity(self.governed.len());
        for (name, kind) in &self.governed {
            let values = match input.get(name) {
                Some(Value::Array(items)) => items.as_slice(),
                Some(value) => std::slice::from_ref(value),
                None => &[],
            };
            arguments.extend(values.iter().filter_map(|value| {
                let argument = match (kind, value) {
                    (ArgumentKind::Path, Value::String(text)) => Argument::Path(text),
                    (ArgumentKind::Host, Value::String(text)) => Argument::Host(text),
                    (ArgumentKind::Money, Value::String(text)) => Argument::Money(text.parse().ok()?),
                    (_, Value::String(text)) => Argument::Text(text),
                    (_, value) => Argument::Number(value.as_u64()?),
                };
                Some((name.as_str(), argument))
            }));
        }
        arguments
    }

    /// Checks `output` against the limits.
    ///
    /// # Errors
    /// [`ToolError::OutputTooLarge`].
    pub fn check_output(&self, output: &Output) -> Result<(), ToolError> {
        let limit = self.limits.output_bytes;
        let json = serde_json::to_vec(&output.value).map_or(usize::MAX, |json| json.len());
        let size = json.max(output.bytes.as_ref().map_or(0, Vec::len));
        if size > limit { Err(ToolError::OutputTooLarge { size, limit }) } else { Ok(()) }
    }
}

/// Brings a governed value into its normal form.
fn normal(value: &mut Value, name: &str, kind: ArgumentKind) -> Result<(), ToolError> {
    let refused = |problem: &str| Err(ToolError::InvalidInput(format!("argument '{name}' {problem}")));
    match (kind, value) {
        (ArgumentKind::Path, Value::String(text)) => {
            let normal = normalise(text).filter(|path| is_path(path));
            *text = normal.ok_or_else(|| {
                ToolError::PathEscape(for_terminal(&text.chars().take(200).collect::<String>()))
            })?;
        }
        (ArgumentKind::Host, Value::String(text)) => {
            let lower = text.to_ascii_lowercase();
            let host = lower.strip_suffix('.').unwrap_or(&lower);
            if !is_host(host) {
                return refused("is no host; write a name such as api.example.com, or an address");
            }
            *text = host.to_owned();
        }
        (ArgumentKind::Money, Value::String(text)) => {
            let money: Money = text.parse().map_err(|problem| {
                ToolError::InvalidInput(format!("argument '{name}' is no amount of money: {problem}"))
            })?;
            *text = money.to_string();
        }
        (ArgumentKind::Number, number) if number.as_u64().is_none() => {
            return refused("is negative, and capabilities speak about numbers from 0 on");
        }
        _ => {}
    }
    Ok(())
}
