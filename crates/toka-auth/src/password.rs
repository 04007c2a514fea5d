//! Passwords of people, kept as Argon2id hashes.
//!
//! Toka's own commands ask for no password: who may open the vault is its operator, and everybody else comes with a token. This
//! is for a program that people sign in to, and that has a token issued once they have: it keeps a hash for each person, where it
//! keeps what else it knows of them, and never in a log, from which nothing is taken back.
//!
//! ```
//! use toka_auth::password::{Cost, Password, PasswordHash, Verdict};
//!
//! let cost = Cost { memory_kib: 64, passes: 1, lanes: 1 }; // for this example alone: `Cost::default()` otherwise
//! let stored = PasswordHash::new(&Password::new("correct horse")?, cost)?.to_string();
//! let stored: PasswordHash = stored.parse()?;
//! assert_eq!(stored.verify(&Password::new("correct horse")?, cost), Verdict::Right);
//! assert_eq!(stored.verify(&Password::new("battery staple")?, cost), Verdict::Wrong);
//! // Costs were raised since: hash it again while the password is there.
//! assert_eq!(stored.verify(&Password::new("correct horse")?, Cost::default()), Verdict::RightAndRehash);
//! # Ok::<(), toka_auth::password::PasswordError>(())
//! ```
//!
//! Signing in, with an answer that takes as long for a name that nobody has:
//!
//! ```
//! use std::collections::BTreeMap;
//! use toka_auth::password::{Cost, Password, PasswordError, PasswordHash, Verdict};
//!
//! /// True if it is the person's password. A hash from a time of lower costs is replaced.
//! fn sign_in(
//!     people: &mut BTreeMap<String, PasswordHash>,
//!     name: &str,
//!     typed: &str,
//!     cost: Cost,
//! ) -> Result<bool, PasswordError> {
//!     let typed = Password::new(typed)?;
//!     let verdict = match people.get(name) {
//!         Some(stored) => stored.verify(&typed, cost),
//!         None => typed.verify_for_nobody(cost),
//!     };
//!     if verdict == Verdict::RightAndRehash {
//!         people.insert(name.to_owned(), PasswordHash::new(&typed, cost)?);
//!     }
//!     Ok(verdict != Verdict::Wrong)
//! }
//!
//! let cost = Cost { memory_kib: 64, passes: 1, lanes: 1 }; // for this example alone
//! let mut people = BTreeMap::from([("ann".to_owned(), PasswordHash::new(&Password::new("correct horse")?, cost)?)]);
//! assert!(sign_in(&mut people, "ann", "correct horse", cost)?);
//! assert!(!sign_in(&mut people, "ann", "battery staple", cost)?);
//! assert!(!sign_in(&mut people, "bob", "correct horse", cost)?);
//! // Costs are raised: whoever signs in gets a new hash.
//! let raised = Cost { passes: 2, ..cost };
//! assert!(sign_in(&mut people, "ann", "correct horse", raised)?);
//! assert_eq!(people["ann"].cost(), raised);
//! # Ok::<(), PasswordError>(())
//! ```

use std::fmt;
use std::str::FromStr;

use argon2::password_hash::{Encoding, PasswordHash as Phc, PasswordHasher as _, Salt, SaltString};
use argon2::{Algorithm, Argon2, MIN_SALT_LEN, Params, Version};
use thiserror::Error;
use zeroize::Zeroizing;

/// Longest password, in bytes: hashing it stays cheap beside the rest.
pub const MAX_PASSWORD: usize = 1024;
/// Most memory that checking a stored hash may ask for, in KiB: a hash that somebody else wrote must not take the machine down.
pub const MAX_MEMORY_KIB: u32 = 1 << 20;
/// Most passes of a stored hash.
pub const MAX_PASSES: u32 = 64;
/// Most lanes of a stored hash.
pub const MAX_LANES: u32 = 16;
/// Bytes of the salt of new hashes.
const SALT: usize = 16;
/// Bytes of a hash.
const HASH: usize = 32;

/// What a person typed. Its memory is wiped when it is dropped.
pub struct Password(Zeroizing<String>);

/// What one guess costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// KiB of memory.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes, computed one after the other here.
    pub lanes: u32,
}

impl Default for Cost {
    /// 64 MiB and three passes, which RFC 9106 recommends where memory is short: some tenth of a second.
    fn default() -> Self {
        Self { memory_kib: 64 << 10, passes: 3, lanes: 1 }
    }
}

/// An Argon2id hash in the PHC string format, as it is stored: `$argon2id$v=19$m=65536,t=3,p=1$salt$hash`. Its `Display` is that text;
/// `Debug` shows the parameters alone.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    phc: String,
    cost: Cost,
}

/// What comparing said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the password.
    Right,
    /// It is the password, and its hash costs less than one made now: replace it by a new one.
    RightAndRehash,
    /// It is not.
    Wrong,
}

/// Why there is no hash.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PasswordError {
    /// No password, or too long a one.
    #[error("a password of {len} bytes; 1 to {MAX_PASSWORD} are allowed")]
    Length {
        /// Its length.
        len: usize,
    },
    /// The text is no hash of ours.
    #[error("not an Argon2id hash in PHC format: {0}")]
    Malformed(String),
    /// Outside what Argon2 knows, or what is computed here.
    #[error("a cost of {} KiB, {} passes and {} lanes; at most {MAX_MEMORY_KIB}, {MAX_PASSES} and {MAX_LANES} are allowed, and 8 KiB for each lane at least", .0.memory_kib, .0.passes, .0.lanes)]
    Cost(Cost),
    /// There is no randomness to make salt from.
    #[error("the operating system gives no random bytes: {0}")]
    Random(String),
}

impl Password {
    /// Takes what was typed, as it is: no character is changed or left out.
    ///
    /// # Errors
    /// [`PasswordError::Length`].
    pub fn new(typed: impl Into<String>) -> Result<Self, PasswordError> {
        let typed = Zeroizing::new(typed.into());
        match typed.len() {
            1..=MAX_PASSWORD => Ok(Self(typed)),
            len => Err(PasswordError::Length { len }),
        }
    }

    /// Takes as long as verifying does and says [`Verdict::Wrong`]: for a name that nobody has, so that time does not tell.
    pub fn verify_for_nobody(&self, cost: Cost) -> Verdict {
        if let Ok(argon2) = cost.argon2() {
            let mut hash = Zeroizing::new([0; HASH]);
            let _ = argon2.hash_password_into(self.0.as_bytes(), &[0; SALT], &mut *hash);
            std::hint::black_box(&hash);
        }
        Verdict::Wrong
    }
}

impl PasswordHash {
    /// Hashes `password` under new salt.
    ///
    /// # Errors
    /// [`PasswordError::Random`], [`PasswordError::Cost`].
    pub fn new(password: &Password, cost: Cost) -> Result<Self, PasswordError> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|e| PasswordError::Random(e.to_string()))?;
        let malformed = |e: argon2::password_hash::Error| PasswordError::Malformed(e.to_string());
        let salt = SaltString::encode_b64(&salt).map_err(malformed)?;
        let phc = cost.argon2()?.hash_password(password.0.as_bytes(), &salt).map_err(malformed)?.to_string();
        Ok(Self { phc, cost })
    }

    /// Compares, in a time that does not depend on what was typed. `now` is what a new hash would cost.
    pub fn verify(&self, password: &Password, now: Cost) -> Verdict {
        // Both were read before, so that neither can fail; if they did, nobody would get in.
        let right = match (Phc::parse(&self.phc, Encoding::B64), self.cost.argon2()) {
            (Ok(phc), Ok(argon2)) => phc.verify_password(&[&argon2], password.0.as_bytes()).is_ok(),
            _ => false,
        };
        let weaker = self.cost.memory_kib < now.memory_kib || self.cost.passes < now.passes;
        match (right, weaker) {
            (false, _) => Verdict::Wrong,
            (true, false) => Verdict::Right,
            (true, true) => Verdict::RightAndRehash,
        }
    }

    /// What a guess costs.
    pub fn cost(&self) -> Cost {
        self.cost
    }
}

impl Cost {
    fn argon2(self) -> Result<Argon2<'static>, PasswordError> {
        let Self { memory_kib, passes, lanes } = self;
        let bounded = memory_kib <= MAX_MEMORY_KIB && passes <= MAX_PASSES && lanes <= MAX_LANES;
        let params = Params::new(memory_kib, passes, lanes, Some(HASH)).ok().filter(|_| bounded);
        Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params.ok_or(PasswordError::Cost(self))?))
    }
}

impl FromStr for PasswordHash {
    type Err = PasswordError;

    fn from_str(text: &str) -> Result<Self, PasswordError> {
        let malformed = |what: &dyn fmt::Display| PasswordError::Malformed(what.to_string());
        let phc = Phc::parse(text, Encoding::B64).map_err(|e| malformed(&e))?;
        if phc.algorithm != Algorithm::Argon2id.ident() {
            return Err(malformed(&format_args!("its algorithm is {}", phc.algorithm)));
        }
        if phc.version != Some(Version::V0x13.into()) {
            return Err(malformed(&"its version is not 19"));
        }
        let params = Params::try_from(&phc).map_err(|e| malformed(&e))?;
        let mut salt = [0; Salt::MAX_LENGTH];
        let salt = phc.salt.and_then(|text| text.decode_b64(&mut salt).ok().map(<[u8]>::len));
        if salt.is_none_or(|len| len < MIN_SALT_LEN) || phc.hash.is_none_or(|hash| hash.len() != HASH) {
            return Err(malformed(&format_args!(
                "it wants a salt of {MIN_SALT_LEN} bytes or more, and a hash of {HASH}"
            )));
        }
        let cost = Cost { memory_kib: params.m_cost(), passes: params.t_cost(), lanes: params.p_cost() };
        cost.argon2()?;
        Ok(Self { phc: text.to_owned(), cost })
    }
}

impl fmt::Display for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.phc)
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash").field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl PasswordError {
    /// A stable kebab-case code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "password-length",
            Self::Malformed(_) => "password-malformed",
            Self::Cost(_) => "password-cost",
            Self::Random(_) => "password-random",
        }
    }
}
