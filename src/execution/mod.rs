//! How a document is run: parsed and validated, its limits, the fields that it asks for, loading in batches, and the answer.
//!
//! async-graphql publishes the schema; a document is parsed and validated by apollo-compiler, and run here.
//!
//! Not here: any noun of the schema, and what its fields mean.

mod requests;
mod persisted;
mod caches;
mod documents;
mod validation;
mod schema;
mod arguments;
mod collected;
mod plan;
mod limits;
mod fields;
mod outputs;
mod roots;
mod introspection;
mod json;
mod loads;
mod chunks;
mod writer;
mod answers;
mod errors;
mod declarations;
mod exchange;
mod engine;

pub use answers::{Answer, Part, RootFieldsAnswer, write_part};
pub use arguments::{Arguments, Binder};
pub use chunks::{CHUNK_BYTES, Chunk, Chunks};
pub use collected::CollectedField;
pub use declarations::{Declare, Declared, field, interface};
pub use engine::{Engine, Prepared};
pub use errors::{Code, Error};
pub use fields::{Fields, Object, Selection};
pub use json::parse_json;
pub use limits::{ASK_FOR_LESS, MAX_HELD_BYTES, MAX_PAGE, too_large};
pub use loads::Batch;
pub(crate) use outputs::leaf;
pub use outputs::{Enum, Id, Output, Text};
pub use persisted::{BadDocuments, Persisted};
pub use plan::Plan;
pub use requests::Request;
pub use roots::{RootFields, RootResolver, WriteFn};
pub use schema::{AdditionalCost, Schema};
pub use writer::{NullPropagated, Unresolved, Writer};

pub use apollo_compiler::executable::OperationType;

use errors::{LineIndex, Location, MAX_ERRORS, Segment};
