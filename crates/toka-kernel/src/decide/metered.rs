//! Capabilities with limits: which of them answers, and for which grants its use counts.
//!
//! What is used under a grant counts for each grant that it was cut from as well. At each of them a capability that
//! allows it without limits is taken before one that has some, and of those the first with room, in the order of the set;
//! uses that one has no room for are another's. Where a grant may hand something on without limits, so may the ones above
//! it, and nothing is counted from there on.

use toka_types::capability::{CapabilitySet, Reached, Request, Window};
use toka_types::facts::Used;
use toka_types::{Capability, GrantId, Timestamp};

use super::Asked;
use crate::denial::{Code, Denied};
use crate::world::Grant;

/// What stands in the way of a use: the capability that has room the soonest.
struct Full<'a> {
    grant: GrantId,
    capability: &'a Capability,
    left: u64,
    reached: Reached,
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
        used: &mut Vec<Used>,
    ) -> Result<(), Denied> {
        let mut full: Option<Full<'_>> = None;
        let (mut id, mut set, mut above) = (id, &grant.uses, grant.cut_from);
        loop {
            match self.take(id, set, request, times, used) {
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

    /// Takes the uses from the capabilities of one grant.
    fn take<'s>(
        &self,
        id: GrantId,
        set: &'s CapabilitySet,
        request: &'s Request<'_>,
        times: u64,
        used: &mut Vec<Used>,
    ) -> Taken<'s> {
        let mut left = times;
        let mut full: Option<Full<'s>> = None;
        for capability in set.allowing(request, self.at) {
            if capability.limits().is_none() {
                return Taken::Free;
            }
            let before = used.iter_mut().find(|one| one.grant == id && one.capability == *capability);
            let taken = before.as_ref().map_or(0, |before| before.times);
            let meter = self.world.meter(id, capability);
            let room = meter.room(capability.limits(), self.at).saturating_sub(taken);
            let more = room.min(left);
            left -= more;
            match before {
                Some(before) => before.times += more,
                None if more > 0 => {
                    used.push(Used { grant: id, capability: capability.clone(), times: more })
                }
                None => {}
            }
            if left == 0 {
                return Taken::Counted;
            }
            let wanted = taken.saturating_add(more).saturating_add(left);
            if let Err(reached) = meter.check(capability.limits(), wanted, self.at)
                && full.as_ref().is_none_or(|full| ends(&reached) < ends(&full.reached))
            {
                full = Some(Full { grant: id, capability, left: room, reached });
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
        let Self { grant, capability, left, reached: Reached { window, most, until } } = self;
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
        let rule = format!("{capability} of grant {grant} allows {most} {uses}{of}, {left} left{again}");
        let asked = format!("{}:{}", request.resource, request.action);
        Denied { nearest: Some(Box::new((*capability).clone())), ..Denied::new(code, &asked, rule) }
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
