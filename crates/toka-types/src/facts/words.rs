//! The words that facts are written in where there are few of them.

use alloc::string::String;

/// What became of a call without a recorded outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Resolution {
    /// It took effect.
    Happened,
    /// It took no effect.
    DidNotHappen,
}

/// What a person says of a call, from the narrowest permission on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum ApprovalVerdict {
    /// It may be made once.
    AllowOnce,
    /// It may be made with these very arguments, as often as the agent likes, while the approval holds.
    AllowArguments,
    /// The agent may call the tool with any arguments while the approval holds.
    AllowTool,
    /// It may not be made; asked again while that holds, it is refused at once.
    Deny,
}

impl ApprovalVerdict {
    /// Every verdict that allows something, the narrowest first.
    pub const SCOPES: [Self; 3] = [Self::AllowOnce, Self::AllowArguments, Self::AllowTool];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AllowOnce => "allow-once",
            Self::AllowArguments => "allow-arguments",
            Self::AllowTool => "allow-tool",
            Self::Deny => "deny",
        }
    }
}

impl core::fmt::Display for ApprovalVerdict {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much of a grant a person may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Role {
    /// Looks and changes nothing.
    Observer,
    /// Works: agents, messages, tasks, tools, approvals, money of its own.
    Member,
    /// All that the grant allows: people, policy, prices, the issue of money.
    Admin,
}

impl Role {
    /// Every role, from the least on.
    pub const ALL: [Self; 3] = [Self::Observer, Self::Member, Self::Admin];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observer => "observer",
            Self::Member => "member",
            Self::Admin => "admin",
        }
    }

    /// True if somebody in this role may ask for `resource:action` at all. Whether the grant allows it, is another
    /// question.
    pub fn may(self, resource: &str, action: &str) -> bool {
        match self {
            Self::Observer => false,
            Self::Member => match resource {
                "user" | "policy" | "price" | "clock" | "custom" | "manifest" | "log" => false,
                "ledger" => !matches!(action, "mint" | "burn"),
                _ => true,
            },
            Self::Admin => true,
        }
    }
}

impl core::fmt::Display for Role {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no role; observer, member and admin are")]
pub struct UnknownRole(pub String);

impl core::str::FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let role = Self::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or_else(|| UnknownRole(text.into()))
    }
}
