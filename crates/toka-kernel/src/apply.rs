//! How an event changes the world. There are no choices here: what was decided, happens.

use toka_types::capability::CapabilitySet;
use toka_types::entry::{Carved, Entry};
use toka_types::facts::{
    AgentSpawned, ApprovalVerdict, Facts, GrantIssued, Observed, OperationRef, Resolution, kinds,
};
use toka_types::{Capability, Digest, EntityId, EventHeader, EventId, GrantId, Timestamp};

use crate::codec::{self, FactsError};
use crate::policy::Policy;
use crate::safeguards::Declared;
use crate::world::{
    Agent, AgentState, Approval, ApprovalState, Grant, PendingEffect, Task, User, WorldState,
};

/// Folds a stored event into the world.
pub fn apply_stored(world: &mut WorldState, header: &EventHeader) -> Result<(), FactsError> {
    if !is_kernels(world, header) {
        apply(world, header, &Facts::Observed(Observed { registers: Vec::new() }), None);
        return Ok(());
    }
    let (facts, operation) = codec::decode(header)?;
    apply(world, header, &facts, operation.as_ref());
    Ok(())
}

/// False for what a program recorded that used the vault alone. Until a kernel opens the log it has decided nothing in it but
/// where it was forked, whatever the events are called: kinds and facts are the program's own, and grant nothing.
fn is_kernels(world: &WorldState, header: &EventHeader) -> bool {
    world.operator.is_some() || [kinds::LOG_OPENED, kinds::LOG_FORKED].contains(&header.kind.as_str())
}

/// Folds an event into the world. `facts` and `operation` are those of `header`.
pub fn apply(world: &mut WorldState, header: &EventHeader, facts: &Facts, operation: Option<&OperationRef>) {
    world.next_seq = header.seq.saturating_add(1);
    world.last_at = header.at;
    world.forget_operations_before(header.at);
    world.heads.insert(header.author, header.id);
    world.forget_nonces_before(header.at);
    world.authorities.safeguards.token_meters.forget_before(header.at);
    if let Some(&OperationRef { op_id: Some(op_id), not_after: Some(not_after), .. }) = operation {
        world.remember_operation(header.author, op_id, header.id, not_after);
    }
    if let Some(&OperationRef { nonce: Some(nonce), until: Some(until), .. }) = operation {
        world.burn_nonce(header.author, nonce, until, header.at);
    }
    for used in operation.iter().flat_map(|operation| &operation.used) {
        world.count_use(used, header.at);
    }
    for used in operation.iter().flat_map(|operation| &operation.token_used) {
        world.count_token_use(used, header.at);
    }
    world.hear(header.author, header);
    world.authorities.safeguards.quarantines.recorded(header);
    match facts {
        Facts::LogOpened(f) => {
            world.operator = Some((f.operator, f.grant));
            let set = set(&f.capabilities);
            issue(
                world,
                f.grant,
                Grant {
                    subject: f.operator,
                    cut_from: None,
                    uses: set.clone(),
                    delegates: set,
                    expires: None,
                    revoked: false,
                },
            );
        }
        Facts::LogForked(_) => {
            world.heads.clear();
            world.forked = Some(header.id);
            // What anybody was given, and what a person allowed, holds there. Here the operator gives anew.
            let own = world.operator.map(|(_, grant)| grant);
            let given: Vec<GrantId> = world.grants.keys().copied().filter(|id| Some(*id) != own).collect();
            given.into_iter().for_each(|id| void(world, id));
            world.end_approvals();
            world.authorities.safeguards.requests.clear();
            world.authorities.ledger.fork();
            world.effects.values_mut().for_each(|effect| effect.hold = None);
        }
        Facts::AgentSpawned(f) => {
            spawn(world, header, f);
            world.authorities.safeguards.note_spawned(header, f);
        }
        Facts::AgentStopped(f) => stop(world, f.agent),
        Facts::AgentSuspended(f) => set_state(world, f.agent, AgentState::Suspended),
        Facts::AgentResumed(f) => set_state(world, f.agent, AgentState::Running),
        Facts::AgentAnswered(f) => world.authorities.safeguards.quarantines.answered(f),
        Facts::TurnEnded(f) => {
            if let Some(agent) = world.agents.get_mut(&f.agent) {
                // A turn that ends late, of an agent that was since spawned anew, takes nothing back.
                agent.upto = agent.upto.max(f.upto);
            }
        }
        Facts::GrantIssued(f) => {
            replace_grant(world, f);
            world.authorities.safeguards.quarantines.begins(f.subject);
        }
        Facts::GrantRevoked(f) => revoke(world, f.grant),
        Facts::MessageSent(f) => {
            world.instruct(header, f);
            world.message_sent(header, f);
        }
        Facts::PlanCommitted(f) => world.commit_plan(header, f),
        Facts::CapabilityDenied(_) | Facts::SubjectErased(_) => {}
        Facts::TaskScheduled(f) => {
            let task = Task { due: f.due, spec: f.spec, scheduled: header.id, labels: header.labels.clone() };
            if world.tasks.entry(f.owner).or_default().insert(f.task.clone(), task).is_none() {
                count_task(world, f.owner, 1);
            }
        }
        Facts::TaskCancelled(f) => remove_task(world, f.owner, &f.task),
        Facts::TaskFired(f) => match f.next {
            Some(next) => set_due(world, f.owner, &f.task, next),
            None => remove_task(world, f.owner, &f.task),
        },
        Facts::ToolRequested(f) => {
            let (tool, version, arguments) = (f.tool.clone(), f.version.clone(), f.arguments);
            let labels = header.labels.clone();
            world.authorities.safeguards.places.wrote(&f.wrote, &labels);
            if let Some(approval) = f.approval {
                use_up(world, approval);
            }
            if let Some(filled) = f.slot {
                world.fill(f.agent, header.id, filled);
            }
            let effect = PendingEffect {
                agent: f.agent,
                tool,
                version,
                class: f.class,
                arguments,
                labels,
                hold: None,
            };
            world.effects.insert(header.id, effect);
        }
        Facts::ToolReturned(f) => {
            world.read(f);
            if let Some(request) = f.request {
                world.effects.remove(&request);
            }
        }
        Facts::ToolResolved(f) => {
            if let Some(effect) = world.effects.remove(&f.request) {
                let happened = f.resolution == Resolution::Happened;
                world.resolve_planned(effect.agent, f.request, happened);
            }
        }
        Facts::UserCreated(f) => {
            issue(world, f.grant, new_grant(f.user, f.cut_from, &f.uses, &f.delegates, f.expires));
            let user = User { name: f.name.clone(), role: f.role, grant: f.grant };
            world.authorities.users.insert(f.user, user);
        }
        Facts::UserRoleAssigned(f) => {
            if let Some(user) = world.authorities.users.get_mut(&f.user) {
                user.role = f.role;
            }
        }
        Facts::ApprovalRequested(f) => {
            let approval = Approval {
                agent: f.agent,
                tool: f.tool.clone(),
                version: f.version.clone(),
                arguments: f.arguments,
                labels: header.labels.clone(),
                expires: f.expires,
                state: ApprovalState::Waiting,
            };
            world.set_approval(header.id, approval);
        }
        Facts::ApprovalDecided(f) => {
            if let Some(approval) = world.approval(f.approval).cloned() {
                let state = ApprovalState::Decided { verdict: f.verdict, by: f.by, until: f.until };
                world.set_approval(f.approval, Approval { state, ..approval });
            }
        }
        Facts::ApprovalExpired(f) | Facts::ApprovalCancelled(f) => {
            world.end_approval(f.approval);
        }
        Facts::CustomSet(f) => {
            for register in &f.registers {
                let key = (f.opcode.clone(), register.key);
                match register.value {
                    Some(value) => world.authorities.custom.insert(key, value),
                    None => world.authorities.custom.remove(&key),
                };
            }
        }
        Facts::Entered(entry) => {
            world.authorities.ledger.apply(entry, header.id, header.at);
            // What is kept back for a call follows its request.
            if let (Entry::Held(_), Some(request)) = (entry, header.parents.first())
                && let Some(effect) = world.effects.get_mut(request)
            {
                effect.hold = Some(header.id);
            }
        }
        // What was decided is a policy. What a damaged log says otherwise changes nothing.
        Facts::PolicySet(f) => {
            if let Ok(policy) = Policy::new(f.rules.iter().cloned()) {
                world.authorities.policy = policy;
            }
        }
        Facts::ToolDeclared(f) => {
            let versions = world.authorities.safeguards.tools.entry(f.tool.clone()).or_default();
            versions.insert(f.version.clone(), Declared::of(f));
        }
        Facts::LogLimited(f) => world.authorities.safeguards.limits = f.clone(),
        Facts::ClockJumped(f) => world.authorities.safeguards.clock.jump = Some(f.shows),
        Facts::ClockReset(f) => {
            let clock = &mut world.authorities.safeguards.clock;
            clock.jump = None;
            // Behind the log, the log's time stands still until the clock has caught up with it.
            clock.behind = (f.shows < header.at).then_some((f.shows, header.at));
        }
        Facts::PriceSet(set) => world.authorities.prices.apply(set),
        Facts::CustomEmit(_) | Facts::NonceBurnt(_) | Facts::Noticed(_) => {}
        Facts::Observed(f) => {
            for register in &f.registers {
                match register.value {
                    Some(value) => world.registers.insert((header.author, register.key), value),
                    None => world.registers.remove(&(header.author, register.key)),
                };
            }
        }
    }
}

fn set(capabilities: &[Capability]) -> CapabilitySet {
    // A decided grant is within its bounds. One that is not comes from a damaged log, and allows nothing.
    CapabilitySet::new(capabilities.iter().cloned()).unwrap_or_default()
}

fn issue(world: &mut WorldState, id: GrantId, mut grant: Grant) {
    // A decided grant is numbered above the one it was cut from. Walks along grants end because of that, so what
    // a damaged log says otherwise is cut from nothing.
    grant.cut_from = grant.cut_from.filter(|giver| *giver < id);
    world.next_grant = id.0;
    world.grants.insert(id, grant);
}

fn spawn(world: &mut WorldState, header: &EventHeader, f: &AgentSpawned) {
    issue(world, f.grant, new_grant(f.agent, f.cut_from, &f.uses, &f.delegates, f.expires));
    let line = if f.quarantine.is_some() { world.line(f.parent) } else { Vec::new() };
    world.authorities.safeguards.quarantines.spawned(header, f, &line);
    let agent = Agent {
        name: f.name.clone(),
        behaviour: f.behaviour.clone(),
        parent: f.parent,
        grant: f.grant,
        state: AgentState::Running,
        upto: header.seq + 1,
        tasks: 0,
    };
    if let Some(money) = f.budget {
        let carved = Carved { from: f.parent, to: f.agent, money };
        world.authorities.ledger.apply(&carved.into(), header.id, header.at);
    }
    let before = world.agents.insert(f.agent, agent);
    if let Some(before) = before.filter(|agent| agent.state != AgentState::Stopped) {
        count_living(world, before.parent, false);
    }
    count_living(world, f.parent, true);
}

fn count_living(world: &mut WorldState, parent: EntityId, one_more: bool) {
    let living = match one_more {
        true => world.living(parent).saturating_add(1),
        false => world.living(parent).saturating_sub(1),
    };
    match living {
        0 => world.living.remove(&parent),
        _ => world.living.insert(parent, living),
    };
}

fn replace_grant(world: &mut WorldState, f: &GrantIssued) {
    let agent = world.agents.get(&f.subject).map(|agent| agent.grant);
    if let Some(before) = agent.or(world.user(f.subject).map(|user| user.grant)) {
        revoke(world, before);
    }
    issue(world, f.grant, new_grant(f.subject, f.cut_from, &f.uses, &f.delegates, f.expires));
    if let Some(agent) = world.agents.get_mut(&f.subject) {
        agent.grant = f.grant;
    } else if let Some(user) = world.authorities.users.get_mut(&f.subject) {
        user.grant = f.grant;
    }
}

fn new_grant(
    subject: EntityId,
    cut_from: GrantId,
    uses: &[Capability],
    delegates: &[Capability],
    expires: Option<Timestamp>,
) -> Grant {
    let (uses, delegates) = (set(uses), set(delegates));
    Grant { subject, cut_from: Some(cut_from), uses, delegates, expires, revoked: false }
}

fn revoke(world: &mut WorldState, root: GrantId) {
    world.subtree(root).into_iter().for_each(|id| void(world, id));
}

fn void(world: &mut WorldState, id: GrantId) {
    if let Some(grant) = world.grants.get_mut(&id) {
        grant.revoked = true;
    }
    // It allows nothing any more; what was used under it counts for those above.
    world.authorities.safeguards.meters.remove(&id);
    world.authorities.safeguards.token_meters.forget_grant(id);
}

fn stop(world: &mut WorldState, id: EntityId) {
    let Some(agent) = world.agents.get_mut(&id) else { return };
    let before = std::mem::replace(&mut agent.state, AgentState::Stopped);
    agent.tasks = 0;
    let (grant, parent) = (agent.grant, agent.parent);
    if before != AgentState::Stopped {
        count_living(world, parent, false);
    }
    revoke(world, grant);
    world.tasks.remove(&id);
    world.forget_request(id);
    world.authorities.safeguards.spawned.remove(&id);
    let approvals: Vec<_> = world.approvals_of(id).map(|(approval, _)| approval).collect();
    approvals.into_iter().for_each(|approval| world.end_approval(approval));
    let own = (id, Digest([0; 32]))..=(id, Digest([u8::MAX; 32]));
    let keys: Vec<_> = world.registers.range(own).map(|(key, _)| *key).collect();
    for key in keys {
        world.registers.remove(&key);
    }
}

/// What was allowed once is gone with the call.
fn use_up(world: &mut WorldState, approval: EventId) {
    let once = |approval: &Approval| {
        matches!(approval.state, ApprovalState::Decided { verdict: ApprovalVerdict::AllowOnce, .. })
    };
    if world.approval(approval).is_some_and(once) {
        world.end_approval(approval);
    }
}

fn set_state(world: &mut WorldState, id: EntityId, state: AgentState) {
    if let Some(agent) = world.agents.get_mut(&id) {
        agent.state = state;
    }
}

fn set_due(world: &mut WorldState, owner: EntityId, task: &toka_types::Name, due: Timestamp) {
    if let Some(task) = world.tasks.get_mut(&owner).and_then(|tasks| tasks.get_mut(task)) {
        task.due = due;
    }
}

fn remove_task(world: &mut WorldState, owner: EntityId, task: &toka_types::Name) {
    let Some(tasks) = world.tasks.get_mut(&owner) else { return };
    let removed = tasks.remove(task);
    if tasks.is_empty() {
        world.tasks.remove(&owner);
    }
    if removed.is_some() {
        count_task(world, owner, -1);
    }
}

fn count_task(world: &mut WorldState, owner: EntityId, by: i32) {
    if let Some(agent) = world.agents.get_mut(&owner) {
        agent.tasks = agent.tasks.saturating_add_signed(by);
    }
}
