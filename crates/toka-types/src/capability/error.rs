//! What keeps a text from being a capability.

use alloc::string::String;

use super::limit::MAX_USES;
use super::{MAX_CAPABILITIES, MAX_CAPABILITY, MAX_CAVEATS};
use crate::money::MoneyProblem;

/// What keeps a text from being a capability, or capabilities from being a set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// The text is not in the language.
    #[error("'{}' is not a capability: byte {at}: {problem}", crate::path::for_terminal(text))]
    Malformed {
        /// The text.
        text: String,
        /// Byte offset of the problem.
        at: usize,
        /// What is wrong there, and what is allowed.
        problem: Problem,
    },
    /// The text is too long.
    #[error(
        "a capability of {len} bytes; at most {MAX_CAPABILITY} are allowed, so grant several shorter ones"
    )]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Too many caveats.
    #[error("{count} caveats on one capability; at most {MAX_CAVEATS} are allowed")]
    TooManyCaveats {
        /// How many there are.
        count: usize,
    },
    /// Too many capabilities.
    #[error("{count} capabilities in one set; at most {MAX_CAPABILITIES} are allowed, so use wider patterns")]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

/// What is wrong at one place of a capability's text; the message says what is allowed there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message is its documentation")]
pub enum Problem {
    #[error("a resource is expected: lower-case letters, digits, '_' or '-', as 'tool' in tool:fs.read")]
    Resource,
    #[error("'**' alone covers every resource; write '**' and nothing after it, or a resource")]
    AnyResource,
    #[error("':' is expected between resource and action, as in tool:fs.read")]
    Colon,
    #[error("a segment of letters, digits, '_', '-', '/' is expected, or '*', or '**' at the end")]
    ActionSegment,
    #[error("'**' is allowed as the last segment only")]
    AnyNotLast,
    #[error(
        "'*' inside a segment is not in the language; '*' is one whole segment, '**' at the end any number"
    )]
    PartialWildcard,
    #[error("a caveat is expected: a name of lower-case letters, digits, '_', then '=', as in path=docs/**")]
    CaveatName,
    #[error("this argument has a caveat already; join both into one")]
    DuplicateCaveat,
    #[error("'=' is expected after the caveat's name")]
    Equals,
    #[error("a value is expected")]
    EmptyValue,
    #[error("this character is allowed in double quotes only")]
    NeedsQuotes,
    #[error("'\\' may stand before '\"' or '\\' only, inside double quotes")]
    Escape,
    #[error("the double quotes are not closed")]
    OpenQuotes,
    #[error("control characters are not allowed; use '*' for a segment that has one")]
    Control,
    #[error("',' or ')' is expected after a caveat")]
    AfterCaveat,
    #[error("nothing may follow the closing ')'")]
    AfterEnd,
    #[error("a path pattern is relative to the granted root; leave the leading '/' out")]
    AbsolutePath,
    #[error("'..' is not allowed in a path pattern")]
    ParentPath,
    #[error("an empty path component is not allowed; write single '/' between components, '.' for the root")]
    EmptyComponent,
    #[error("'%' starts an escape only for a byte that is not UTF-8 (%E9); write '%' itself as %25")]
    PathEscape,
    #[error("an empty segment is not allowed; write single dots between segments")]
    EmptySegment,
    #[error(
        "a host in lower case is expected, as api.example.com, 127.0.0.1 or [::1], or one leading '*.' before a name"
    )]
    Host,
    #[error("a number is expected, at most 18446744073709551615 and without leading zeros")]
    Number,
    #[error("a number or an interval is expected, as 4, 1..10 or 1..; write a text of digits as {{1.5}}")]
    Interval,
    #[error("the interval is empty; the first number must not be above the second")]
    EmptyInterval,
    #[error("',' or '}}' is expected after an element of a set")]
    AfterElement,
    #[error("wildcards are not allowed in a set")]
    SetWildcard,
    #[error("{0}")]
    Money(MoneyProblem),
    #[error(
        "a span of time is expected, its end excluded: 2026-01-01..2026-02-01, 2026-01-01T08:30Z.. or ..2026-02-01"
    )]
    Span,
    #[error(
        "a day or an instant in UTC from 1970 to 9999 is expected, as 2026-01-31, 2026-01-31T08:30Z or 2026-01-31T08:30:15.5Z"
    )]
    Instant,
    #[error("the span is empty; it must begin before it ends")]
    EmptySpan,
    #[error("hours of the day are expected, in UTC and their end excluded, as 09:00..17:30 or 18:00..24:00")]
    Hours,
    #[error("the hours must begin before they end; for hours around midnight grant two capabilities")]
    EmptyHours,
    #[error("no instant is both in the span of 'at' and in 'hours'")]
    Never,
    #[error(
        "a rate is expected, as 10/min, or several as {{10/min,100/h}}; '/' and a window follow the number"
    )]
    Rate,
    #[error("a window is expected: s, min, h or day; 'uses' counts over all time")]
    Window,
    #[error("a number from 1 to {MAX_USES} is expected, without leading zeros")]
    Uses,
}
