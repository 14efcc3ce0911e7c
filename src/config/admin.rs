//! What the operator does with accounts at the command line.

use clap::Subcommand;

use super::{
    Database,
    help::{DATABASE, help},
};

/// What the operator can do with accounts. Passwords are asked for, or read from standard input.
#[derive(Debug, Subcommand)]
pub enum Admin {
    /// Make a new account that may act for everyone
    #[command(after_help = help(["admin create ada@example.com", "admin create --name Ada ada@example.com"], DATABASE))]
    Create {
        /// Display name
        #[arg(long, default_value = "Admin")]
        name: String,
        /// Address to sign in with
        email: String,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// List all users: id, role, when they were created and suspended, address and name
    #[command(after_help = help(["admin users", "admin users --database sqlite:chat.db"], DATABASE))]
    Users {
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// Make the account of somebody an admin, who keeps the password, and end its sessions. Addresses are not verified: be sure whose
    /// account it is
    #[command(after_help = help(["admin grant ada@example.com", "admin grant ada@example.com --database sqlite:chat.db"], DATABASE))]
    Grant {
        /// Id or address of the account, such as usr_7
        user: String,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// Make an admin a user again, and end their sessions
    #[command(after_help = help(["admin revoke ada@example.com", "admin revoke ada@example.com --database sqlite:chat.db"], DATABASE))]
    Revoke {
        /// Id or address of the account, such as usr_7
        user: String,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// Suspend an account: end its sessions, and let nobody sign in to it
    #[command(after_help = help(["admin suspend ada@example.com", "admin suspend usr_7 --database sqlite:chat.db"], DATABASE))]
    Suspend {
        /// Id or address of the account, such as usr_7
        user: String,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// Let somebody sign in again whose account is suspended
    #[command(after_help = help(["admin unsuspend ada@example.com", "admin unsuspend usr_7 --database sqlite:chat.db"], DATABASE))]
    Unsuspend {
        /// Id or address of the account, such as usr_7
        user: String,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// Give an account another password, and end its sessions
    #[command(after_help = help(
        ["admin reset-password ada@example.com", "admin reset-password ada@example.com --database sqlite:chat.db"],
        DATABASE
    ))]
    ResetPassword {
        /// Id or address of the account, such as usr_7
        user: String,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// List the sessions of an account
    #[command(after_help = help(["admin sessions ada@example.com", "admin sessions ada@example.com --database sqlite:chat.db"], DATABASE))]
    Sessions {
        /// Id or address of the account, such as usr_7
        user: String,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// End a session
    #[command(after_help = help(["admin end-session ses_7", "admin end-session ses_7 --database sqlite:chat.db"], DATABASE))]
    EndSession {
        /// Which one, such as ses_7
        id: String,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// Make a token for a program that may act for everyone; it is shown this once
    #[command(after_help = help(["admin issue-token billing", "admin issue-token billing > billing.token"], DATABASE))]
    IssueToken {
        /// What the program is called
        name: String,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// List the active service tokens
    #[command(after_help = help(["admin tokens", "admin tokens --database sqlite:chat.db"], DATABASE))]
    Tokens {
        /// The database.
        #[command(flatten)]
        database: Database,
    },
    /// Revoke a service token
    #[command(after_help = help(["admin revoke-token svc_3", "admin revoke-token svc_3 --database sqlite:chat.db"], DATABASE))]
    RevokeToken {
        /// Which one, such as svc_3
        id: String,
        /// The database.
        #[command(flatten)]
        database: Database,
    },
}
