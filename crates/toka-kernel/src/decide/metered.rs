//! Capabilities with limits: which of them answers, and for which grants and tokens its use counts.
//!
//! What is used under a grant counts for each grant that it was cut from as well. At each of them a capability that
//! allows it without limits is taken before one that has some, and of those the first with room, in the order of the set;
//! uses that one has no room for are another's. Where a grant may hand something on without limits, so may the ones above
//! it, and nothing is counted from there on.
//!
//! What is asked under a token counts, in the same way, for each set with limits that the token was narrowed down to, too.

use toka_types::capability::{CapabilitySet, Meter, Reached, Request, Window};
use toka_types::facts::{OperationRef, TokenUsed, Used};
use toka_types::operation::Metered;
use toka_types::{Capability, GrantId, Timestamp};

use super::Asked;
use crate::denial::{Code, Denied};
use crate::limits::MAX_TOKEN_METERS;
use crate::world::Grant;

/// What an operation uses of capabilities with limits.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    of_grants: Vec<Used>,
    of_token: Vec<TokenUsed>,
}

/// Whose limits are counted.
#[derive(Clone, Copy)]
enum Whose<'a> {
    /// A grant's.
    Grant(GrantId),
    /// Those that a token of the grant was narrowed down to.
    Token(GrantId, &'a Metered),
}

/// What stands in the way of a use: the capability that has room the soonest.
struct Full<'a> {
    whose: Whose<'a>,
    capability: &'a Capability,
    left: u64,
    reached: Reached,
}

impl Uses {
    pub(crate) fn is_empty(&self) -> bool {
        self.of_grants.is_empty() && self.of_token.is_empty()
    }

    /// Notes them with where the operation came from.
    pub(crate) fn note(self, operation: &mut Option<OperationRef>) {
        if !self.is_empty() {
            let operation = operation.get_or_insert_default();
            (operation.used, operation.token_used) = (self.of_grants, self.of_token);
        }
    }

    /// How many uses of a capability the operation has already.
    fn times(&mut self, whose: Whose<'_>, capability: &Capability) -> Option<&mut u64> {
        match whose {
            Whose::Grant(id) => {
                let found = self.of_grants.iter_mut().find(|u| u.grant == id && u.capability == *capability);
                found.map(|used| &mut used.times)
            }
            Whose::Token(_, Metered { meter, .. }) => {
                let same = |u: &&mut TokenUsed| u.meter == *meter && u.capability == *capability;
                self.of_token.iter_mut().find(same).map(|used| &mut used.times)
            }
        }
    }

    fn add(&mut self, whose: Whose<'_>, capability: &Capability, times: u64) {
        let capability = capability.clone();
        match whose {
            Whose::Grant(grant) => self.of_grants.push(Used { grant, capability, times }),
            Whose::Token(grant, &Metered { meter, until, .. }) => {
                self.of_token.push(TokenUsed { grant, meter, until, capability, times });
            }
        }
    }
}

impl Asked<'_> {
    /// Counts so many uses that no capability of the grant allows without limits, in `used`.
    ///
    /// # Errors
    /// If they are more than the limits leave, of the grant's own or of one above it; then of the one that leaves nothing for
    /// the longest.
    pub(super) fn count_uses(
        &self,
        id: GrantId,
        grant: &Grant,
        request: &Request<'_>,
        times: u64,
        used: &mut Uses,
    ) -> Result<(), Denied> {
        let mut full: Option<Full<'_>> = None;
        let (mut id, mut set, mut above) = (id, &grant.uses, grant.cut_from);
        loop {
            match self.take(Whose::Grant(id), set, request, times, used) {
                Taken::Free => break,
                Taken::Counted => {}
                Taken::Full(more) => {
                    if full.as_ref().is_none_or(|full| ends(&more.reached) > ends(&full.reached)) {
                        full = Some(more);
                    }
                }
                // What a grant allows, the ones above it may hand on. Only a damaged log says otherwise.
                Taken::Missing => {
                    let asked = format!("{}:{}", request.resource, request.action);
                    let rule = format!("grant {id}, which it was cut from, does not allow {asked}");
                    return Err(self.deny(Code::CapabilityMissing, &asked, rule));
                }
            }
            let Some((giver, found)) = above.and_then(|giver| Some((giver, self.world.grant(giver)?))) else {
                break;
            };
            (id, set, above) = (giver, &found.delegates, found.cut_from);
        }
        match full {
            None => Ok(()),
            Some(full) => Err(full.denied(request, times)),
        }
    }

    /// Counts so many uses that the grant allows for what its token was narrowed down to.
    ///
    /// # Errors
    /// If that allows none of it, or has no room for them.
    pub(super) fn count_in_token(
        &self,
        id: GrantId,
        own: &Metered,
        request: &Request<'_>,
        times: u64,
        used: &mut Uses,
    ) -> Result<(), Denied> {
        match self.take(Whose::Token(id, own), &own.only, request, times, used) {
            Taken::Free | Taken::Counted => Ok(()),
            Taken::Full(full) => Err(full.denied(request, times)),
            Taken::Missing => {
                let asked = format!("{}:{}", request.resource, request.action);
                let rule = format!("the token was narrowed down to less than {asked}");
                Err(self.deny(Code::CapabilityMissing, &asked, rule))
            }
        }
    }

    /// Checks that the world has room for the meters of what the token's uses are the first of.
    pub(super) fn has_meters(&self, id: GrantId, used: &Uses) -> Result<(), Denied> {
        let meters = &self.world.authorities.safeguards.token_meters;
        let is_new = |used: &&TokenUsed| meters.get(id, &used.meter, &used.capability).is_none();
        let fresh = used.of_token.iter().filter(is_new).count() as u64;
        if fresh == 0 || meters.live(id, self.at) + fresh <= MAX_TOKEN_METERS as u64 {
            return Ok(());
        }
        let rule = format!(
            "{MAX_TOKEN_METERS} capabilities with limits in tokens of grant {id} are counted, and more are not; \
             give narrowed tokens an end, after which their uses are forgotten"
        );
        Err(self.deny(Code::CapabilityMeters, "", rule))
    }

    /// What was used before.
    fn meter_of(&self, whose: Whose<'_>, capability: &Capability) -> Meter {
        match whose {
            Whose::Grant(id) => self.world.meter(id, capability),
            Whose::Token(id, own) => self.world.token_meter(id, &own.meter, capability),
        }
    }

    /// Takes the uses from the capabilities of one grant, or of a token.
    fn take<'s>(
        &self,
        whose: Whose<'s>,
        set: &'s CapabilitySet,
        request: &'s Request<'_>,
        times: u64,
        used: &mut Uses,
    ) -> Taken<'s> {
        let mut left = times;
        let mut full: Option<Full<'s>> = None;
        for capability in set.allowing(request, self.at) {
            if capability.limits().is_none() {
                return Taken::Free;
            }
            let before = used.times(whose, capability);
            let taken = before.as_deref().copied().unwrap_or(0);
            let meter = self.meter_of(whose, capability);
            let room = meter.room(capability.limits(), self.at).saturating_sub(taken);
            let more = room.min(left);
            left -= more;
            match before {
                Some(before) => *before += more,
                None if more > 0 => used.add(whose, capability, more),
                None => {}
            }
            if left == 0 {
                return Taken::Counted;
            }
            let wanted = taken.saturating_add(more).saturating_add(left);
            if let Err(reached) = meter.check(capability.limits(), wanted, self.at)
                && full.as_ref().is_none_or(|full| ends(&reached) < ends(&full.reached))
            {
                full = Some(Full { whose, capability, left: room, reached });
            }
        }
        full.map_or(Taken::Missing, Taken::Full)
    }
}

enum Taken<'a> {
    /// A capability without limits allows it.
    Free,
    /// It is counted.
    Counted,
    /// There is no room for it.
    Full(Full<'a>),
    /// No capability allows it.
    Missing,
}

/// When there is room again; never, where nothing says so.
fn ends(reached: &Reached) -> Timestamp {
    reached.until.unwrap_or(Timestamp(i64::MAX))
}

impl Full<'_> {
    fn denied(&self, request: &Request<'_>, times: u64) -> Denied {
        let Self { whose, capability, left, reached: Reached { window, most, until } } = self;
        let code = match window {
            Window::Ever => Code::CapabilityUses,
            _ => Code::CapabilityRate,
        };
        let again = match until {
            Some(until) => format!("; there is room again from {until} on"),
            None if times > *most => format!("; {times} at once are more"),
            None => String::new(),
        };
        let (uses, of) = (if *most == 1 { "use" } else { "uses" }, name(*window));
        let (whose, meter) = match whose {
            Whose::Grant(grant) => (format!("grant {grant}"), None),
            Whose::Token(_, own) => ("the narrowed token".to_owned(), Some(Box::new(own.meter))),
        };
        let rule = format!("{capability} of {whose} allows {most} {uses}{of}, {left} left{again}");
        let asked = format!("{}:{}", request.resource, request.action);
        Denied { nearest: Some(Box::new((*capability).clone())), meter, ..Denied::new(code, &asked, rule) }
    }
}

fn name(window: Window) -> &'static str {
    match window {
        Window::Second => " a second",
        Window::Minute => " a minute",
        Window::Hour => " an hour",
        Window::Day => " a day",
        Window::Ever => "",
    }
}
