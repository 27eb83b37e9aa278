//! `tollgate`, the binary: reads its arguments and hands over.

use std::{ffi::OsString, io::Write, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use tollgate::{app, config::Config, crypto::secret::Secret};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An OpenAI-compatible gateway in front of your own model servers: keys that you mint, limits that hold, bills that
/// are right.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the gateway.
    ///
    /// Customers call the inference listener, operators the admin listener. Every setting can also stand in the config
    /// file, or in the environment as TOLLGATE_ and its name in capitals; a flag beats the environment, which beats the
    /// file. The README lists them all. TOLLGATE_ADMIN_KEY sets an operator key for as long as it is set.
    Serve(Serve),
}

#[derive(Args)]
struct Serve {
    /// Where customers call [env: TOLLGATE_LISTEN] [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where operators call [env: TOLLGATE_ADMIN_LISTEN] [default: 127.0.0.1:8081].
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// Where everything durable lies; one process at a time [env: TOLLGATE_DATA_DIR] [default: ./data].
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// A TOML file with settings.
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG")]
    config: Option<PathBuf>,
    /// Also sets up an endpoint, a group and a key to try it with, when the data directory is empty.
    #[arg(long)]
    demo: bool,
}

fn main() -> ExitCode {
    let Command::Serve(serve) = Cli::parse().command;
    match run(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A standard error that is closed or full must not turn the exit code into a panic's.
            let _ = writeln!(std::io::stderr(), "tollgate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(serve: Serve) -> Result<(), Box<dyn std::error::Error>> {
    let flags = [("listen", serve.listen), ("admin_listen", serve.admin_listen), ("data_dir", serve.data_dir)];
    let flags: Vec<_> = flags.into_iter().filter_map(|(field, value)| Some((field, value?))).collect();
    let unreadable = |(name, value): &(OsString, OsString)| {
        name.to_str().is_some_and(|name| name.starts_with("TOLLGATE_")) && value.to_str().is_none()
    };
    if let Some((name, _)) = std::env::vars_os().find(unreadable) {
        return Err(format!("{}: its value is not UTF-8", name.display()).into());
    }
    let variable = |name: &str| std::env::var(name).ok();
    let config = Config::load(serve.config.as_deref(), variable, &flags)?;
    let admin_key = variable("TOLLGATE_ADMIN_KEY").map(Secret::new);
    Ok(app::serve(config, admin_key, serve.demo)?)
}
