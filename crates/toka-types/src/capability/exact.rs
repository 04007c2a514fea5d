//! One request, written as the capability that is about nothing else.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::caveat::{Allowed, Caveat, Sort};
use super::{Argument, Capability, Request};
use crate::operation::GovernedArgument;

/// A request that owns its texts; [`Capability::exact`] makes one of a capability with one value for each argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExactRequest {
    /// The resource.
    pub resource: String,
    /// The action.
    pub action: String,
    /// The arguments; several may have one name.
    pub arguments: Vec<(String, GovernedArgument)>,
}

impl ExactRequest {
    /// Hands the request to `ask`.
    pub fn with<R>(&self, ask: impl FnOnce(&Request<'_>) -> R) -> R {
        let view = |value| match value {
            &GovernedArgument::Number(number) => Argument::Number(number),
            &GovernedArgument::Money(money) => Argument::Money(money),
            GovernedArgument::Path(text) => Argument::Path(text),
            GovernedArgument::Text(text) => Argument::Text(text),
            GovernedArgument::Host(text) => Argument::Host(text),
        };
        let arguments: Vec<(&str, Argument<'_>)> =
            self.arguments.iter().map(|(name, value)| (name.as_str(), view(value))).collect();
        ask(&Request { resource: &self.resource, action: &self.action, arguments: &arguments })
    }
}

impl Capability {
    /// The request that this capability writes down: its action, and each value that a caveat names, of `max` the largest.
    /// `None` if the action or a caveat has a wildcard or an interval, or if there is a caveat on time or on use.
    pub fn exact(&self) -> Option<ExactRequest> {
        let target = self.target.as_ref().filter(|target| !target.action.is_open())?;
        let plain = Self { target: self.target.clone(), caveats: self.caveats.clone(), ..Self::all() };
        if plain != *self {
            return None;
        }
        let mut arguments = Vec::new();
        for Caveat { name, allowed } in &self.caveats {
            let max = Sort::of(name) == Sort::Max;
            let mut push = |value| arguments.push((name.to_string(), value));
            match allowed {
                Allowed::Path(path) if !path.is_open() => push(GovernedArgument::Path(path.as_str().into())),
                Allowed::Hosts(hosts) if !hosts.iter().any(|host| host.starts_with('*')) => {
                    hosts.iter().for_each(|host| push(GovernedArgument::Host(host.to_string())));
                }
                Allowed::Texts(texts) => {
                    texts.iter().for_each(|text| push(GovernedArgument::Text(text.to_string())));
                }
                Allowed::Number(first, last) if max || first == last => {
                    push(GovernedArgument::Number(*last));
                }
                Allowed::Money(currency, first, last) if max || first == last => {
                    push(GovernedArgument::Money(last.of(*currency)));
                }
                _ => return None,
            }
        }
        Some(ExactRequest {
            resource: target.resource.to_string(),
            action: target.action.as_str().to_string(),
            arguments,
        })
    }

    /// The names of the arguments that it has caveats on, in order.
    pub fn arguments(&self) -> impl Iterator<Item = &str> {
        self.caveats.iter().map(|caveat| &*caveat.name)
    }
}
