//! What enters the process: operations under a token. What a token allows is the world's grant ∩ all its attenuations.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use toka_agents::Event;
use toka_types::{Digest, OpId, Operation};

use crate::runtime::{Runtime, RuntimeError};

/// What a runtime knows of tokens.
pub(crate) struct Tokens {
    refused: AtomicU64,
    #[cfg(feature = "auth")]
    scheme: Option<std::sync::Arc<dyn toka_auth::TokenScheme>>,
}

impl Tokens {
    pub(crate) fn new(
        #[cfg(feature = "auth")] scheme: Option<std::sync::Arc<dyn toka_auth::TokenScheme>>,
    ) -> Self {
        Self {
            refused: AtomicU64::new(0),
            #[cfg(feature = "auth")]
            scheme,
        }
    }
}

impl Runtime {
    /// A token with which somebody outside acts as `agent` (or as `operator`) for `ttl`, under the grant that the agent
    /// has now: when that is replaced or revoked, the token is void. Capabilities in `attenuation` narrow it down;
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
        return checked::issue(self, agent, attenuation, ttl).await;
        #[cfg(not(feature = "auth"))]
        {
            let _ = (agent, attenuation, ttl);
            Err(RuntimeError::Feature("auth"))
        }
    }

    /// A fresh token in place of one that is valid now, for the same grant, as narrow, and for `ttl`: within a day of the
    /// first, and never beyond the grant's end or one that a holder set. The old one stays valid until its own.
    ///
    /// # Errors
    /// Those of [`issue_token`](Self::issue_token); [`RuntimeError::Token`] too if the token is not valid now, or its grant
    /// is void.
    pub async fn renew_token(&self, token: &str, ttl: Duration) -> Result<String, RuntimeError> {
        #[cfg(feature = "auth")]
        return checked::renew(self, token, ttl).await;
        #[cfg(not(feature = "auth"))]
        {
            let _ = (token, ttl);
            Err(RuntimeError::Feature("auth"))
        }
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
        self.submit_from_outside(token, None, op_id, operation).await
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
        self.submit_from_outside(token, Some((proof, signed)), op_id, operation).await
    }

    async fn submit_from_outside(
        &self,
        token: &str,
        proof: Option<(&str, Digest)>,
        op_id: OpId,
        operation: Operation,
    ) -> Result<Vec<Event>, RuntimeError> {
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

    /// How many operations were refused because of their token since this runtime was built.
    pub fn refused_tokens(&self) -> u64 {
        self.tokens.refused.load(Ordering::Relaxed)
    }
}

#[cfg(feature = "auth")]
mod checked {
    use std::sync::{Arc, OnceLock};
    use std::time::Duration;

    use toka_agents::{AgentError, Event};
    use toka_auth::token::{DEFAULT_RENEWABLE, Renewal, random_number};
    use toka_auth::{Claims, Proof, TokenError, TokenScheme, Verified};
    use toka_bus::{Filter, RecvError};
    use toka_kernel::WorldState;
    use toka_kernel::decide::{Need, each_need};
    use toka_kernel::limits::MAX_REPEAT_WINDOW;
    use toka_kernel::step::is_host_only;
    use toka_kernel::world::AgentState;
    use toka_toolkit_core::Input;
    use toka_types::capability::CapabilitySet;
    use toka_types::operation::Authority;
    use toka_types::{Digest, EntityId, Envelope, EventId, Name, OpId, Operation, Timestamp};

    use crate::effects::{self, Asker};
    use crate::kernel_loop::Guard;
    use crate::runtime::{Runtime, RuntimeError};

    /// The name under which the operator's own tokens are issued.
    const OPERATOR: &str = "operator";

    fn refusal(code: &str, detail: impl Into<String>) -> RuntimeError {
        RuntimeError::Token { code: code.to_owned(), detail: detail.into() }
    }

    impl From<TokenError> for RuntimeError {
        fn from(error: TokenError) -> Self {
            refusal(error.code(), error.to_string())
        }
    }

    fn scheme(runtime: &Runtime) -> Result<&Arc<dyn TokenScheme>, RuntimeError> {
        let none =
            || refusal("token-no-scheme", "this runtime was built without a token scheme, and accepts none");
        runtime.tokens.scheme.as_ref().ok_or_else(none)
    }

    pub(super) async fn issue(
        runtime: &Runtime,
        agent: &str,
        attenuation: &[&str],
        ttl: Duration,
    ) -> Result<String, RuntimeError> {
        let scheme = scheme(runtime)?;
        let attenuation = match attenuation {
            [] => None,
            texts => {
                let set = CapabilitySet::parse(texts);
                Some(set.map_err(|error| refusal("token-cannot-issue", error.to_string()))?)
            }
        };
        let subject = EntityId::named(agent);
        let grant = runtime.world(move |world| {
            let agent = world.agent(subject).filter(|agent| agent.state != AgentState::Stopped);
            agent
                .map(|agent| agent.grant)
                .or(world.operator_grant().filter(|_| subject == EntityId::operator()))
        });
        let Some(grant) = grant.await? else {
            return Err(refusal("token-cannot-issue", format!("there is no agent '{agent}'")));
        };
        let issued = runtime.now();
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
        };
        Ok(scheme.issue(&claims)?)
    }

    pub(super) async fn renew(runtime: &Runtime, token: &str, ttl: Duration) -> Result<String, RuntimeError> {
        let (scheme, at) = (scheme(runtime)?, runtime.now());
        let verified = scheme.verify(token, at)?;
        let (grant, subject) = (verified.claims().grant, verified.claims().subject);
        let found = runtime.world(move |world| world.grant(grant).map(|g| (g.subject, g.revoked, g.expires)));
        let grant_ends = match found.await? {
            Some((theirs, false, ends)) if theirs == subject && ends.is_none_or(|ends| at < ends) => ends,
            _ => {
                let detail = format!("grant {grant} is none of {subject}'s that still stands");
                return Err(refusal("token-grant", detail));
            }
        };
        Ok(scheme.renew(token, &Renewal { at, ttl, grant_ends, id: random_number()? })?)
    }

    pub(super) async fn submit(
        runtime: &Runtime,
        token: &str,
        proof: Option<(&str, Digest)>,
        op_id: OpId,
        operation: Operation,
    ) -> Result<Vec<Event>, RuntimeError> {
        let (scheme, now) = (scheme(runtime)?, runtime.now());
        let verified = scheme.verify(token, now)?;
        let grant = verified.claims().grant;
        let authority = match (verified.holder(), proof) {
            (None, _) => Authority::Grant(grant),
            (Some(_), None) => return Err(TokenError::ProofMissing.into()),
            (Some(_), Some((proof, signed))) => {
                let proof: Proof = proof.parse()?;
                verified.check_proof(Some(&proof), &signed, scheme.audience(), now)?;
                Authority::Signed { grant, nonce: proof.nonce, until: proof.not_after }
            }
        };
        if is_host_only(&operation) {
            return Err(refusal("host.only", "only the host itself may ask this"));
        }
        // A repeat is recognised as long as the token could be used again, and no longer than the kernel does so.
        let until = verified.expires().0.min(now.0.saturating_add(MAX_REPEAT_WINDOW));
        let entry = Entry {
            runtime,
            token: verified,
            authority,
            op_id: (op_id, Timestamp(until)),
            verdict: Arc::default(),
        };
        match operation {
            Operation::Request(request) => {
                let arguments = Input::parse(request.arguments.bytes());
                let arguments = arguments.map_err(|e| AgentError::Invalid(e.to_string()))?;
                let version = match request.version.as_str() {
                    "" => None,
                    text => Some(text.parse().map_err(|e: toka_toolkit_core::version::VersionError| {
                        AgentError::Invalid(e.to_string())
                    })?),
                };
                let shared = &runtime.crew.shared;
                let prepared = effects::prepare(shared, request.tool.as_str(), version, arguments)?;
                entry.call(prepared).await
            }
            operation => entry.ask(operation).await,
        }
    }

    /// An operation under a token that was verified.
    struct Entry<'a> {
        runtime: &'a Runtime,
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

    impl Entry<'_> {
        async fn ask(self, operation: Operation) -> Result<Vec<Event>, RuntimeError> {
            let guard = self.guard(operation.clone());
            let (origin, authority) = (self.token.claims().subject, self.authority);
            let envelope =
                Envelope { origin, authority, op_id: Some(self.op_id), causes: Vec::new(), operation };
            let receipt = self.runtime.crew.shared.submit_guarded(envelope, Some(guard)).await?;
            let answered = receipt.committed().await;
            if let Some(Verdict::Refused { code, detail }) = self.verdict.get() {
                return Err(refusal(code, detail));
            }
            Ok(answered?.into_iter().map(Event::from).collect())
        }

        async fn call(self, prepared: effects::Prepared) -> Result<Vec<Event>, RuntimeError> {
            let operation = Operation::Request(prepared.request.clone());
            let guard = self.guard(operation.clone());
            let subject = self.token.claims().subject;
            let name = self.runtime.world(move |world| world.name_of(subject).map(str::to_owned)).await?;
            let name = Name::new(name.as_deref().unwrap_or(OPERATOR))?;
            let host = self.runtime.crew.host_of(&name, self.token.claims().grant);
            let asker = Asker {
                agent: subject,
                authority: self.authority,
                causes: Vec::new(),
                op_id: Some(self.op_id),
                guard: Some(guard),
            };
            let performed = effects::request(&host, asker, prepared).await;
            match self.verdict.get() {
                Some(Verdict::Refused { code, detail }) => return Err(refusal(code, detail)),
                Some(Verdict::Repeated(event)) => {
                    self.use_up(operation).await?;
                    return self.first_answer(*event);
                }
                None => {}
            }
            let performed = performed?;
            Ok(performed.requested.into_iter().chain([performed.returned]).map(Event::from).collect())
        }

        /// Shows the kernel a call that was made before, so that the signature under the repeat is used up too, or is refused
        /// if it was used before. No call is made of it.
        async fn use_up(&self, operation: Operation) -> Result<(), RuntimeError> {
            if let Authority::Grant(_) = self.authority {
                return Ok(());
            }
            let (origin, op_id) = (self.token.claims().subject, self.op_id.0);
            let guard: Guard = Box::new(move |world, at| {
                let repeated = world.repeated(origin, op_id, at.max(world.last_at()));
                repeated.map(drop).ok_or_else(|| AgentError::Invalid("the repeat came too late".to_owned()))
            });
            let (authority, op_id) = (self.authority, Some(self.op_id));
            let envelope = Envelope { origin, authority, op_id, causes: Vec::new(), operation };
            let receipt = self.runtime.crew.shared.submit_guarded(envelope, Some(guard)).await?;
            receipt.committed().await?;
            Ok(())
        }

        /// What a call that was made before became, as far as it is known.
        fn first_answer(&self, event: EventId) -> Result<Vec<Event>, RuntimeError> {
            let Some(reader) = &self.runtime.crew.shared.reader else {
                let mut events = self.runtime.bus().subscribe_from(0, Filter::all().kind("tool"));
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
            let outcome =
                reader.children(&event)?.into_iter().find(|child| child.header.kind == "tool.returned");
            Ok(first.into_iter().chain(outcome).map(Event::from).collect())
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
                    None => Ok(()),
                    Some(said) => {
                        let _ = verdict.set(said);
                        Err(AgentError::Invalid("not asked of the kernel".to_owned()))
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
        let allowed = each_need(world, origin, operation, |need| match need {
            Need::Use(request, _) if own.allows_at(&request, at) => Ok(()),
            Need::Use(request, _) => Err(match own.allowing(&request, at).next() {
                Some(limited) => format!(
                    "the token allows {request} by '{limited}', and uses are not counted for tokens; limit the grant instead"
                ),
                None => format!("the token is narrowed down to less than {request}"),
            }),
            Need::HandOn(terms) => {
                let mut handed = terms.uses.iter().chain(&terms.delegates);
                match handed.find(|capability| !own.covers_one(capability)) {
                    Some(wider) => Err(format!("the token is narrowed down to less than handing on {wider}")),
                    None => Ok(()),
                }
            }
        });
        allowed.err()
    }
}
