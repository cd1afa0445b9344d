//! What the programs share towards the person who runs them: arguments, exit codes, progress,
//! questions, text and JSON, signals.
//!
//! Never touches an image and knows nothing of ext4. With `bin/*` the only place that prints,
//! asks, or reads the clock.

pub mod clock;
pub mod common_args;
pub mod exit;
pub mod failure;
pub mod man;
pub mod program;
pub mod progress;
pub mod prompt;
pub mod report;
pub mod signals;
pub mod size;
pub mod target;

pub use common_args::CommonArgs;
pub use exit::Exit;
pub use failure::Failure;
pub use progress::Progress;
pub use prompt::{Answer, Prompt, Reply};
pub use report::{Paint, Report};
pub use signals::Stop;
pub use size::parse_size;
pub use target::Target;
