//! The two digests of a world.
//!
//! `fold` covers all of it and is what replay compares. `world` covers outcomes: entities by name, grants by
//! content, tasks and named values; never positions, times, numbers of grants or counters. Two runs that did the
//! same have the same `world`, however often they were killed.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use toka_types::capability::CapabilitySet;
use toka_types::facts::Role;
use toka_types::{Amount, Answer, AnswerShape, Currency, Digest, GrantId};

use crate::world::{AgentState, WorldState};

/// The digests of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Over all of the world.
    pub fold: Digest,
    /// Over its outcomes.
    pub world: Digest,
}

/// Computes both digests of `world`.
pub fn digests(world: &WorldState) -> Digests {
    Digests {
        fold: digest_of("toka 2026 fold v1", world),
        world: digest_of("toka 2026 world v1", &Outcomes::of(world)),
    }
}

fn digest_of(context: &str, value: &impl Serialize) -> Digest {
    // Serialising plain data into memory cannot fail; a digest of half a world would be a lie, so it stops.
    let bytes = rmp_serde::to_vec(value).expect("the world is plain data");
    Digest::of_fields(context, [&bytes[..]])
}

#[derive(Serialize)]
struct Outcomes<'a> {
    agents: BTreeMap<&'a str, AgentOutcome<'a>>,
    tasks: BTreeMap<(&'a str, &'a str), Digest>,
    registers: BTreeMap<(&'a str, Digest), Digest>,
    operator: Option<Vec<GrantOutcome<'a>>>,
    #[serde(skip_serializing_if = "AuthorityOutcomes::is_empty")]
    authorities: AuthorityOutcomes<'a>,
}

#[derive(Serialize)]
struct AuthorityOutcomes<'a> {
    users: BTreeMap<&'a str, (Role, Vec<GrantOutcome<'a>>)>,
    custom: BTreeMap<(&'a str, Digest), Digest>,
    /// What each owner has in each currency. Owners without a name in this world are told apart by their ids.
    balances: BTreeMap<(String, Currency), Amount>,
    /// What quarantined agents told each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    answers: BTreeMap<&'a str, &'a BTreeSet<Answer>>,
}

impl AuthorityOutcomes<'_> {
    fn is_empty(&self) -> bool {
        self.users.is_empty() && self.custom.is_empty() && self.balances.is_empty() && self.answers.is_empty()
    }
}

#[derive(Serialize)]
struct AgentOutcome<'a> {
    behaviour: &'a str,
    parent: &'a str,
    state: AgentState,
    /// The agent's grant and those it was cut from, up to the operator's.
    grants: Vec<GrantOutcome<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quarantine: Option<&'a AnswerShape>,
}

#[derive(Serialize)]
struct GrantOutcome<'a> {
    subject: &'a str,
    uses: &'a CapabilitySet,
    delegates: &'a CapabilitySet,
    revoked: bool,
}

impl<'a> Outcomes<'a> {
    fn of(world: &'a WorldState) -> Self {
        let name = |id| world.name_of(id).unwrap_or_default();
        let chain = |mut next: Option<GrantId>| {
            let mut chain = Vec::new();
            while let Some(grant) = next.and_then(|id| world.grants.get(&id)) {
                let (uses, delegates) = (&grant.uses, &grant.delegates);
                chain.push(GrantOutcome {
                    subject: name(grant.subject),
                    uses,
                    delegates,
                    revoked: grant.revoked,
                });
                next = grant.cut_from;
            }
            chain
        };
        let agents = world.agents.iter().map(|(id, agent)| {
            let outcome = AgentOutcome {
                behaviour: agent.behaviour.as_str(),
                parent: name(agent.parent),
                state: agent.state,
                grants: chain(Some(agent.grant)),
                quarantine: world.quarantine(*id).map(|quarantine| &quarantine.shape),
            };
            (agent.name.as_str(), outcome)
        });
        let tasks = world.tasks.iter().flat_map(|(owner, tasks)| {
            let owner = name(*owner);
            tasks.iter().map(move |(task, t)| ((owner, task.as_str()), t.spec))
        });
        let registers = world.registers.iter().map(|((owner, key), value)| ((name(*owner), *key), *value));
        let users = world.users().map(|(_, user)| (user.name.as_str(), (user.role, chain(Some(user.grant)))));
        let custom =
            world.authorities.custom.iter().map(|((opcode, key), value)| ((opcode.as_str(), *key), *value));
        let balances = world.ledger().accounts().map(|account| {
            let owner = world.name_of(account.id().owner);
            let owner = owner.map_or_else(|| account.id().owner.to_string(), str::to_owned);
            ((owner, account.id().currency), account.balance())
        });
        let (users, custom, balances) = (users.collect(), custom.collect(), balances.collect());
        let told =
            world.authorities.safeguards.quarantines.told().filter(|(_, told)| !told.answers.is_empty());
        let answers = told.map(|(agent, told)| (name(agent), &told.answers)).collect();
        let authorities = AuthorityOutcomes { users, custom, balances, answers };
        Self {
            authorities,
            agents: agents.collect(),
            tasks: tasks.collect(),
            registers: registers.collect(),
            operator: world.operator.map(|(_, grant)| chain(Some(grant))),
        }
    }
}
