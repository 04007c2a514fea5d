//! What enters the process: operations under a token. What a token allows is the world's grant ∩ all its attenuations.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use toka_agents::Event;
#[cfg(any(feature = "auth", feature = "vault"))]
use toka_bus::{Filter, RecvError};
use toka_toolkit_core::{Output, ToolError};
#[cfg(any(feature = "auth", feature = "vault"))]
use toka_types::EventId;
use toka_types::capability::CapabilitySet;
use toka_types::{Digest, OpId, Operation};

use crate::crew::Crew;
use crate::runtime::{Runtime, RuntimeError};

/// What an operation from outside became, and, of a call that was made for it, what the tool gave.
pub(crate) type Done = (Vec<Event>, Option<Result<Output, ToolError>>);

/// What a runtime knows of tokens.
pub(crate) struct Tokens {
    refused: AtomicU64,
    #[cfg(feature = "auth")]
    scheme: std::sync::OnceLock<std::sync::Arc<dyn toka_auth::TokenScheme>>,
    /// What was handed out to each agent outside: the causes of all that it asks from then on.
    #[cfg(feature = "auth")]
    delivered: std::sync::Mutex<checked::DeliveredTo>,
}

impl Tokens {
    pub(crate) fn new(
        #[cfg(feature = "auth")] scheme: Option<std::sync::Arc<dyn toka_auth::TokenScheme>>,
    ) -> Self {
        Self {
            refused: AtomicU64::new(0),
            #[cfg(feature = "auth")]
            scheme: scheme.map_or_else(std::sync::OnceLock::new, std::sync::OnceLock::from),
            #[cfg(feature = "auth")]
            delivered: std::sync::Mutex::default(),
        }
    }
}

impl Runtime {
    /// A token with which somebody outside acts as `agent` (or as a person, or as `operator`) for `ttl`, under the grant that
    /// the agent has now: when that is replaced or revoked, the token is void. Capabilities in `attenuation` narrow it down;
    /// none leave it all that the grant allows.
    ///
    /// # Errors
    /// [`RuntimeError::Feature`] without the feature `auth`; [`RuntimeError::Token`] if there is no such agent, a
    /// capability is malformed, or the scheme cannot issue it or is missing.
    pub async fn issue_token(
        &self,
        agent: &str,
        attenuation: &[&str],
        ttl: Duration,
    ) -> Result<String, RuntimeError> {
        #[cfg(feature = "auth")]
        return checked::issue(&self.crew, agent, attenuation, ttl).await;
        #[cfg(not(feature = "auth"))]
        {
            let _ = (agent, attenuation, ttl);
            Err(RuntimeError::Feature("auth"))
        }
    }

    /// A fresh token in place of one that is valid now, for the same grant, as narrow, and for `ttl`: within a day of the
    /// first, and never beyond the grant's end or one that a holder set. The old one stays valid until its own. What was used
    /// of the old one's limits is used of the fresh one's. One that has expired is not renewed.
    ///
    /// # Errors
    /// Those of [`issue_token`](Self::issue_token); [`RuntimeError::Token`] too if the token is not valid now, its grant
    /// is void, or it is bound to a key.
    pub async fn renew_token(&self, token: &str, ttl: Duration) -> Result<String, RuntimeError> {
        self.crew.renew_from_outside(token, None, ttl, None).await
    }

    /// As [`renew_token`](Self::renew_token), of a token that is bound to its holder's key: `proof` is the holder's, in its text
    /// form, and about `signed`, the digest of the bytes in which the renewal was asked for. It is good once, whatever comes
    /// of it.
    ///
    /// # Errors
    /// The same, and those of [`submit_with_proof`](Self::submit_with_proof) about the proof.
    pub async fn renew_token_with_proof(
        &self,
        token: &str,
        proof: &str,
        signed: Digest,
        ttl: Duration,
    ) -> Result<String, RuntimeError> {
        self.crew.renew_from_outside(token, Some((proof, signed)), ttl, None).await
    }

    /// Asks the kernel for an operation under a token, and returns the events it became, durable. A call of a tool is
    /// performed: its events are the request, where its effect class has one, and the outcome. Of what the operation
    /// says of a tool, only name, version (empty: the newest) and arguments count.
    ///
    /// Sent again with the same `op_id` while the token is valid, the operation is not done again: the answer is its
    /// first event, and the outcome of a call as far as it is known; without a vault, what the ring still holds of it.
    ///
    /// # Errors
    /// [`RuntimeError::Feature`] without the feature `auth`. [`RuntimeError::Token`] if the token is not valid now, its
    /// grant is not its subject's, it does not allow the operation, or the operation is the host's alone; such a
    /// refusal is [counted](Self::refused_tokens) and no event. [`RuntimeError::Asked`] if the kernel refuses.
    pub async fn submit_with_token(
        &self,
        token: &str,
        op_id: OpId,
        operation: Operation,
    ) -> Result<Vec<Event>, RuntimeError> {
        self.crew.submit_from_outside(token, None, op_id, operation).await.map(|(events, _)| events)
    }

    /// As [`submit_with_token`](Self::submit_with_token), under a token that is bound to its holder's key: `proof` is the
    /// holder's, in its text form, and about `signed`, the digest of the bytes in which operation and `op_id` came from
    /// outside. It is good once, whatever becomes of the operation: sent again it is refused, and a repeat is signed anew.
    ///
    /// # Errors
    /// The same, and [`RuntimeError::Token`] if the proof is none, is not the holder's, or is about something else.
    pub async fn submit_with_proof(
        &self,
        token: &str,
        proof: &str,
        signed: Digest,
        op_id: OpId,
        operation: Operation,
    ) -> Result<Vec<Event>, RuntimeError> {
        let done = self.crew.submit_from_outside(token, Some((proof, signed)), op_id, operation).await;
        done.map(|(events, _)| events)
    }

    /// How many operations were refused because of their token since this runtime was built.
    pub fn refused_tokens(&self) -> u64 {
        self.crew.tokens.refused.load(Ordering::Relaxed)
    }

    /// Issues and accepts the tokens of this scheme from now on, if the runtime was
    /// [built](crate::runtime::Builder::token_scheme) without one; true if it was.
    #[cfg(feature = "auth")]
    pub fn accept_tokens(&self, scheme: std::sync::Arc<dyn toka_auth::TokenScheme>) -> bool {
        self.crew.tokens.scheme.set(scheme).is_ok()
    }
}

impl Crew {
    /// What [`Runtime::submit_with_token`] and [`Runtime::submit_with_proof`] do.
    pub(crate) async fn submit_from_outside(
        &self,
        token: &str,
        proof: Option<(&str, Digest)>,
        op_id: OpId,
        operation: Operation,
    ) -> Result<Done, RuntimeError> {
        #[cfg(feature = "auth")]
        let done = checked::submit(self, token, proof, op_id, operation).await;
        #[cfg(not(feature = "auth"))]
        let done = {
            let _ = (token, proof, op_id, operation);
            Err(RuntimeError::Feature("auth"))
        };
        if matches!(done, Err(RuntimeError::Token { .. } | RuntimeError::Feature(_))) {
            self.tokens.refused.fetch_add(1, Ordering::Relaxed);
        }
        done
    }

    /// What [`Runtime::renew_token`] and [`Runtime::renew_token_with_proof`] do; the fresh token is narrowed down to `only`, too.
    pub(crate) async fn renew_from_outside(
        &self,
        token: &str,
        proof: Option<(&str, Digest)>,
        ttl: Duration,
        only: Option<CapabilitySet>,
    ) -> Result<String, RuntimeError> {
        #[cfg(feature = "auth")]
        return checked::renew(self, token, proof, ttl, only).await;
        #[cfg(not(feature = "auth"))]
        {
            let _ = (token, proof, ttl, only);
            Err(RuntimeError::Feature("auth"))
        }
    }

    /// What a call that was made before became, as far as it is known.
    #[cfg(any(feature = "auth", feature = "vault"))]
    pub(crate) fn first_answer(&self, event: EventId) -> Result<Vec<Event>, RuntimeError> {
        let Some(reader) = &self.shared.reader else {
            let mut events = self.shared.feed.subscribe_from(0, Filter::all().kind("tool"));
            let mut answer = Vec::new();
            loop {
                match events.try_recv() {
                    Ok(Some(e)) if e.header.id == event || e.header.parents.contains(&event) => {
                        answer.push(e.into())
                    }
                    Ok(Some(_)) | Err(RecvError::Lagged(_)) => {}
                    Ok(None) | Err(_) => return Ok(answer),
                }
            }
        };
        let first = reader.find(&event)?;
        let outcome = reader.child(&event, "tool.returned")?;
        Ok(first.into_iter().chain(outcome).map(Event::from).collect())
    }
}

#[cfg(feature = "auth")]
mod checked {
    use std::collections::BTreeMap;
    use std::sync::{Arc, OnceLock, PoisonError};
    use std::time::Duration;

    use toka_agents::delivered::Delivered;
    use toka_agents::{AgentError, Event};
    use toka_auth::token::{DEFAULT_RENEWABLE, Renewal, random_number};
    use toka_auth::{Claims, Proof, TokenError, TokenScheme, Verified};
    use toka_kernel::WorldState;
    use toka_kernel::decide::{Need, each_need};
    use toka_kernel::limits::MAX_REPEAT_WINDOW;
    use toka_kernel::step::is_host_only;
    use toka_kernel::world::AgentState;
    use toka_toolkit_core::labelled::Sources;
    use toka_types::capability::CapabilitySet;
    use toka_types::operation::{Authority, Cause};
    use toka_types::{Digest, EntityId, Envelope, EventId, GrantId, Name, OpId, Operation, Timestamp};

    use crate::crew::Crew;
    use crate::effects::{self, Asker};
    use crate::entry::Done;
    use crate::kernel_loop::Guard;
    use crate::runtime::RuntimeError;

    /// The name under which the operator's own tokens are issued.
    const OPERATOR: &str = "operator";
    /// What a guard answers: whoever set it knows why.
    const NOT_ASKED: &str = "not asked of the kernel";

    fn refusal(code: &str, detail: impl Into<String>) -> RuntimeError {
        RuntimeError::Token { code: code.to_owned(), detail: detail.into() }
    }

    /// Why something was refused, unless the kernel has [worse](is_worse) to say.
    fn or_worse<T>(answered: Result<T, AgentError>, refused: RuntimeError) -> RuntimeError {
        match answered {
            Err(error) if is_worse(&error) => error.into(),
            _ => refused,
        }
    }

    /// True if the kernel says that what was signed was used before, or the log has failed.
    fn is_worse(error: &AgentError) -> bool {
        matches!(error, AgentError::Denied { .. } | AgentError::Log(_) | AgentError::Stopped)
    }

    impl From<TokenError> for RuntimeError {
        fn from(error: TokenError) -> Self {
            refusal(error.code(), error.to_string())
        }
    }

    fn scheme(crew: &Crew) -> Result<&Arc<dyn TokenScheme>, RuntimeError> {
        let none =
            || refusal("token-no-scheme", "this runtime was built without a token scheme, and accepts none");
        crew.tokens.scheme.get().ok_or_else(none)
    }

    pub(super) async fn issue(
        crew: &Crew,
        agent: &str,
        attenuation: &[&str],
        ttl: Duration,
    ) -> Result<String, RuntimeError> {
        let scheme = scheme(crew)?;
        let attenuation = match attenuation {
            [] => None,
            texts => {
                let set = CapabilitySet::parse(texts);
                Some(set.map_err(|error| refusal("token-cannot-issue", error.to_string()))?)
            }
        };
        let subject = EntityId::named(agent);
        let grant = crew.shared.query(move |world| {
            let agent = world.agent(subject).filter(|agent| agent.state != AgentState::Stopped);
            agent
                .map(|agent| agent.grant)
                .or_else(|| world.user(subject).map(|person| person.grant))
                .or(world.operator_grant().filter(|_| subject == EntityId::operator()))
        });
        let Some(grant) = grant.await? else {
            return Err(refusal("token-cannot-issue", format!("there is no agent and no person '{agent}'")));
        };
        let issued = crew.shared.clock.now();
        let expires = issued.saturating_add(ttl);
        let (issuer, id) = (EntityId::operator(), random_number()?);
        let claims = Claims {
            issuer,
            subject,
            grant,
            issued,
            not_before: None,
            expires,
            renewable_until: Some(issued.saturating_add(DEFAULT_RENEWABLE)),
            id,
            holder: None,
            attenuation,
            metered: Vec::new(),
        };
        Ok(scheme.issue(&claims)?)
    }

    pub(super) async fn renew(
        crew: &Crew,
        token: &str,
        proof: Option<(&str, Digest)>,
        ttl: Duration,
        only: Option<CapabilitySet>,
    ) -> Result<String, RuntimeError> {
        let (scheme, now) = (scheme(crew)?, crew.shared.clock.now());
        let verified = scheme.verify(token, now)?;
        let (grant, subject) = (verified.claims().grant, verified.claims().subject);
        let authority = authority(scheme.as_ref(), &verified, proof, now)?;
        // What was signed is good once, whatever comes of it.
        spend(crew, subject, authority).await?;
        let look = move |world: &WorldState| (standing(world, grant, subject), world.last_at());
        let (found, last_at) = crew.shared.query(look).await?;
        let (at, ends) = (crew.shared.clock.now().max(last_at), found?);
        if let Some(ends) = ends.filter(|ends| *ends <= at) {
            return Err(refusal(
                "grant.expired",
                format!("grant {grant} ended {} µs after the epoch", ends.0),
            ));
        }
        Ok(scheme.renew(token, &Renewal { at, ttl, grant_ends: ends, id: random_number()?, only })?)
    }

    /// When the grant ends, if it is the subject's and was not revoked.
    fn standing(
        world: &WorldState,
        grant: GrantId,
        subject: EntityId,
    ) -> Result<Option<Timestamp>, RuntimeError> {
        match world.grant(grant).filter(|found| found.subject == subject) {
            None => Err(refusal("token-grant", format!("grant {grant} is not one of {subject}"))),
            Some(found) if found.revoked => {
                Err(refusal("grant.revoked", format!("grant {grant} was revoked")))
            }
            Some(found) => Ok(found.expires),
        }
    }

    /// By what right a token's bearer acts, who has the key that it is bound to.
    fn authority(
        scheme: &dyn TokenScheme,
        token: &Verified,
        proof: Option<(&str, Digest)>,
        now: Timestamp,
    ) -> Result<Authority, RuntimeError> {
        let grant = token.claims().grant;
        match (token.holder(), proof) {
            (None, _) => Ok(Authority::Grant(grant)),
            (Some(_), None) => Err(TokenError::ProofMissing.into()),
            (Some(_), Some((proof, signed))) => {
                let proof: Proof = proof.parse()?;
                token.check_proof(Some(&proof), &signed, scheme.audience(), now)?;
                Ok(Authority::Signed { grant, nonce: proof.nonce, until: proof.not_after })
            }
        }
    }

    /// Uses up what was signed, for something that the kernel is not asked.
    async fn spend(crew: &Crew, origin: EntityId, authority: Authority) -> Result<(), RuntimeError> {
        if let Authority::Grant(_) = authority {
            return Ok(());
        }
        let guard: Guard = Box::new(|_, _| Err(AgentError::Invalid(NOT_ASKED.to_owned())));
        let operation = Operation::Observe(Vec::new());
        let envelope = Envelope { origin, authority, op_id: None, causes: Vec::new(), operation };
        match crew.shared.submit_guarded(envelope, Some(guard)).await?.committed().await {
            Err(error) if is_worse(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    pub(super) async fn submit(
        crew: &Crew,
        token: &str,
        proof: Option<(&str, Digest)>,
        op_id: OpId,
        operation: Operation,
    ) -> Result<Done, RuntimeError> {
        let (scheme, now) = (scheme(crew)?, crew.shared.clock.now());
        let verified = scheme.verify(token, now)?;
        let authority = authority(scheme.as_ref(), &verified, proof, now)?;
        // A repeat is recognised as long as the token could be used again, and no longer than the kernel does so.
        let until = verified.expires().0.min(now.0.saturating_add(MAX_REPEAT_WINDOW));
        let entry = Entry {
            crew,
            token: verified,
            authority,
            op_id: (op_id, Timestamp(until)),
            verdict: Arc::default(),
        };
        match operation {
            operation if is_host_only(&operation) => {
                entry.use_up(refusal("host.only", "only the host itself may ask this")).await
            }
            Operation::Request(request) => match effects::prepare_as_asked(&crew.shared, &request) {
                Ok(prepared) => entry.call(prepared).await,
                Err(error) => entry.use_up(error.into()).await,
            },
            operation => entry.ask(operation).await,
        }
    }

    /// An operation under a token that was verified.
    struct Entry<'a> {
        crew: &'a Crew,
        token: Verified,
        authority: Authority,
        op_id: (OpId, Timestamp),
        verdict: Arc<OnceLock<Verdict>>,
    }

    /// What a look at the world said in the moment of the decision.
    enum Verdict {
        /// The operation was done before, as this event.
        Repeated(EventId),
        Refused {
            code: &'static str,
            detail: String,
        },
    }

    /// The contexts of agents outside: each has one as long as the runtime runs, since nobody here sees where one of its
    /// thoughts ends and the next begins.
    pub(super) type DeliveredTo = BTreeMap<EntityId, Arc<Delivered>>;

    impl Entry<'_> {
        /// What was handed out to the asker before.
        fn causes(&self) -> Vec<Cause> {
            let delivered = self.crew.tokens.delivered.lock().unwrap_or_else(PoisonError::into_inner);
            delivered.get(&self.token.claims().subject).map_or_else(Vec::new, |delivered| delivered.causes())
        }

        /// Hands out what a call became. What an agent gets is a cause of what it asks next; a person answers for what
        /// becomes of it.
        fn hand_out(&self, is_agent: bool, done: Done) -> Done {
            let (events, _) = &done;
            let labelled = || events.iter().filter(|event| !event.labels.is_empty());
            if is_agent && labelled().next().is_some() {
                let mut delivered = self.crew.tokens.delivered.lock().unwrap_or_else(PoisonError::into_inner);
                let delivered = delivered.entry(self.token.claims().subject).or_default();
                labelled().for_each(|event| delivered.add(event.cause()));
            }
            done
        }

        async fn ask(self, operation: Operation) -> Result<Done, RuntimeError> {
            let guard = self.guard(operation.clone());
            let (origin, authority) = (self.token.claims().subject, self.authority);
            let (op_id, causes) = (Some(self.op_id), self.causes());
            let envelope = Envelope { origin, authority, op_id, causes, operation };
            let receipt = self.crew.shared.submit_guarded(envelope, Some(guard)).await?;
            let answered = receipt.committed().await;
            if let Some(Verdict::Refused { code, detail }) = self.verdict.get() {
                return Err(or_worse(answered, refusal(code, detail)));
            }
            Ok((answered?.into_iter().map(Event::from).collect(), None))
        }

        async fn call(self, prepared: effects::Prepared) -> Result<Done, RuntimeError> {
            let operation = Operation::Request(prepared.request.clone());
            let guard = self.guard(operation.clone());
            let subject = self.token.claims().subject;
            let look = move |world: &WorldState| {
                let name = world.name_of(subject).map(str::to_owned);
                (name, world.agent(subject).is_some(), world.quarantine(subject).is_some())
            };
            let (name, is_agent, is_quarantined) = self.crew.shared.query(look).await?;
            let name = Name::new(name.as_deref().unwrap_or(OPERATOR))?;
            let host = self.crew.host_of(&name, self.token.claims().grant, is_quarantined);
            let asker = Asker {
                agent: subject,
                authority: self.authority,
                causes: self.causes(),
                op_id: Some(self.op_id),
                guard: Some(guard),
            };
            let performed = effects::request(&host, asker, prepared).await;
            match self.verdict.get() {
                Some(Verdict::Refused { code, detail }) => Err(or_worse(performed, refusal(code, detail))),
                Some(Verdict::Repeated(event)) => match performed {
                    // What was signed under the repeat was used before.
                    Err(error) if is_worse(&error) => Err(error.into()),
                    _ => Ok(self.hand_out(is_agent, (self.crew.first_answer(*event)?, None))),
                },
                None => Ok(self.hand_out(is_agent, performed?.into_done())),
            }
        }

        /// Refuses what is not even shown to the kernel. What was signed for it is good no more all the same.
        async fn use_up(&self, refused: RuntimeError) -> Result<Done, RuntimeError> {
            spend(self.crew, self.token.claims().subject, self.authority).await?;
            Err(refused)
        }

        /// Looks whether the token allows the operation, in the world in which it is decided.
        fn guard(&self, operation: Operation) -> Guard {
            let (token, op_id, verdict) = (self.token.clone(), self.op_id.0, Arc::clone(&self.verdict));
            let is_call = matches!(operation, Operation::Request(_));
            Box::new(move |world, at| {
                let at = at.max(world.last_at());
                let claims = token.claims();
                let said = if token.expires() <= at {
                    let detail = "the token expired while the operation waited; ask for a new one".to_owned();
                    Some(Verdict::Refused { code: "token-expired", detail })
                } else if world.grant(claims.grant).is_none_or(|grant| grant.subject != claims.subject) {
                    let detail = format!("grant {} is not one of {}", claims.grant, claims.subject);
                    Some(Verdict::Refused { code: "token-grant", detail })
                } else if let Some(event) = world.repeated(claims.subject, op_id, at) {
                    // What was allowed once is answered again and not asked again; a call must not be made again.
                    is_call.then_some(Verdict::Repeated(event))
                } else {
                    let refused = token
                        .attenuations()
                        .find_map(|own| first_not_allowed(world, claims.subject, &operation, own, at));
                    refused.map(|detail| Verdict::Refused { code: "token-attenuated", detail })
                };
                match said {
                    None => Ok(token.metered().to_vec()),
                    Some(said) => {
                        let _ = verdict.set(said);
                        Err(AgentError::Invalid(NOT_ASKED.to_owned()))
                    }
                }
            })
        }
    }

    /// The first thing that `operation` needs and `own` does not allow, and why not.
    fn first_not_allowed(
        world: &WorldState,
        origin: EntityId,
        operation: &Operation,
        own: &CapabilitySet,
        at: Timestamp,
    ) -> Option<String> {
        // Whether there is room within limits, the kernel says. What is handed on is not counted for the token, so that
        // only what it allows without limits can be.
        let free = if own.has_limits() { &own.unlimited() } else { own };
        let allowed = each_need(world, origin, operation, |need| match need {
            Need::Use(request, _) if own.allowing(&request, at).next().is_some() => Ok(()),
            Need::Use(request, _) => Err(format!("the token is narrowed down to less than {request}")),
            Need::HandOn(terms) => {
                let mut handed = terms.uses.iter().chain(&terms.delegates);
                match handed.find(|capability| !free.covers_one(capability)) {
                    Some(wider) if own.covers_one(wider) => Err(format!(
                        "the token allows {wider} within limits, and what has limits in a token cannot be handed on; limit \
                         the grant instead"
                    )),
                    Some(wider) => Err(format!("the token is narrowed down to less than handing on {wider}")),
                    None => Ok(()),
                }
            }
        });
        allowed.err()
    }
}
