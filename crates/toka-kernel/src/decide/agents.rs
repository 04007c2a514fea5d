//! Agents and their grants.

use toka_types::capability::CapabilitySet;
use toka_types::facts::{AgentSpawned, Facts, GrantIssued, GrantRevoked};
use toka_types::operation::GrantTerms;
use toka_types::{AnswerShape, EntityId, GrantId, Money, Name};

use super::{Asked, Decided, one};
use crate::denial::{Code, Denied};
use crate::limits::{MAX_AGENTS, MAX_CAPABILITIES};
use crate::world::{AgentState, Grant};

impl Asked<'_> {
    pub(super) fn spawn(
        &self,
        name: &Name,
        behaviour: &Name,
        terms: &GrantTerms,
        budget: Option<Money>,
        quarantine: Option<&AnswerShape>,
    ) -> Result<Vec<Decided>, Denied> {
        let origin = self.envelope.origin;
        let (cut_from, _) = self.grant("agent:spawn")?;
        let agent = EntityId::named(name.as_str());
        let before = self.world.agents.get(&agent);
        if before.is_none() {
            self.count(
                "agent:spawn",
                "agents",
                self.world.agents.len() + 1,
                self.most(|l| l.agents, MAX_AGENTS),
            )?;
        }
        let is_person = agent == EntityId::operator() || self.world.user(agent).is_some();
        if before.is_some_and(|a| a.state != AgentState::Stopped) || is_person {
            return Err(self.deny(
                Code::AgentExists,
                "agent:spawn",
                format!("an agent or a person named '{name}' is there already"),
            ));
        }
        if let Some(before) = before.filter(|before| !self.world.stands_above(origin, before.grant)) {
            // What was that agent's would be the new one's: its account, and whatever is sent to the name.
            let rule = format!(
                "the name '{}' was that of an agent which did not stand under the asker",
                before.name
            );
            return Err(self.deny(Code::NotADescendant, "agent:spawn", rule));
        }
        if let Some(money) = budget {
            self.budget(agent, money)?;
        }
        if let Some(shape) = quarantine {
            self.may_quarantine(shape)?;
        }
        Ok(one(Facts::AgentSpawned(AgentSpawned {
            agent,
            name: name.clone(),
            behaviour: behaviour.clone(),
            parent: origin,
            grant: GrantId(self.world.next_grant + 1),
            cut_from,
            uses: terms.uses.clone(),
            delegates: terms.delegates.clone(),
            expires: terms.expires,
            budget,
            quarantine: quarantine.cloned(),
        })))
    }

    pub(super) fn issue(&self, agent: EntityId, terms: &GrantTerms) -> Result<Vec<Decided>, Denied> {
        let asked = "agent:grant";
        let cut_from = match self.world.user(agent) {
            Some(person) => self.above(person.grant, &person.name, asked)?,
            None => self.over(agent, asked)?,
        };
        Ok(one(Facts::GrantIssued(GrantIssued {
            grant: GrantId(self.world.next_grant + 1),
            subject: agent,
            cut_from,
            uses: terms.uses.clone(),
            delegates: terms.delegates.clone(),
            expires: terms.expires,
        })))
    }

    pub(super) fn revoke(&self, grant: GrantId) -> Result<Vec<Decided>, Denied> {
        let (own, _) = self.grant("grant:revoke")?;
        if !self.world.grants.contains_key(&grant) {
            return Err(self.deny(Code::GrantUnknown, "grant:revoke", format!("there is no grant {grant}")));
        }
        if grant == own || !self.world.is_cut_from(grant, own) {
            return Err(self.deny(
                Code::NotADescendant,
                "grant:revoke",
                format!("grant {grant} was not cut from grant {own}"),
            ));
        }
        Ok(one(Facts::GrantRevoked(GrantRevoked { grant })))
    }

    /// The asker's grant, if that of `agent` was cut from it.
    pub(super) fn over(&self, agent: EntityId, asked: &str) -> Result<GrantId, Denied> {
        let target = self.known_agent(agent, asked)?;
        if target.state == AgentState::Stopped {
            let rule = format!("agent '{}' was stopped", target.name);
            return Err(self.deny(Code::AgentStopped, asked, rule));
        }
        self.above(target.grant, &target.name, asked)
    }

    /// The asker's grant, if `grant`, which is that of somebody named `name`, was cut from it.
    pub(super) fn above(&self, grant: GrantId, name: &Name, asked: &str) -> Result<GrantId, Denied> {
        let (own, _) = self.grant(asked)?;
        if grant == own || !self.world.is_cut_from(grant, own) {
            let rule = format!("'{name}' does not stand under grant {own}");
            return Err(self.deny(Code::NotADescendant, asked, rule));
        }
        Ok(own)
    }

    /// A grant never holds more than its giver may delegate, never outlives it, and does not end before it begins.
    pub(super) fn part_of(&self, giver: &Grant, terms: &GrantTerms, asked: &str) -> Result<(), Denied> {
        self.count(asked, "capabilities", terms.uses.len() + terms.delegates.len(), MAX_CAPABILITIES)?;
        for capability in terms.uses.iter().chain(&terms.delegates) {
            let covered =
                CapabilitySet::new([capability.clone()]).is_ok_and(|one| giver.delegates.covers(&one));
            if !covered {
                let rule = format!("'{capability}' is not a part of what the giver may delegate");
                let argument = Some(capability.to_string());
                return Err(Denied { argument, ..self.deny(Code::CapabilityWidened, asked, rule) });
            }
        }
        if let Some(end) = terms.expires.filter(|end| *end <= self.at) {
            // A time in another unit than microseconds, mostly.
            let rule = format!("the grant would have ended at {end} already; it is {}", self.at);
            return Err(self.deny(Code::GrantExpired, asked, rule));
        }
        let outlives = match (giver.expires, terms.expires) {
            (Some(end), Some(wanted)) => wanted > end,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if outlives {
            return Err(self.deny(
                Code::CapabilityWidened,
                asked,
                "the grant would outlive the one it is cut from",
            ));
        }
        Ok(())
    }
}
