//! Text → [`Config`]: lexer, grammar, diagnostics. Pure.

pub mod key;
