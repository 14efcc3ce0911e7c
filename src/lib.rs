//! Duologue.
pub mod config;
pub mod telemetry;
pub mod model;
pub mod store;
pub mod events;
pub mod app;
pub mod domain;
pub mod graphql;
pub mod http;
