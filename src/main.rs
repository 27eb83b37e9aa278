//! `tollgate`, the binary: reads its arguments and hands over.

use std::{error::Error, ffi::OsString, io::Write, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use tollgate::{app, commands, config::Config, crypto::secret::Secret};

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
    /// Writes a backup to a file, also while the gateway runs.
    ///
    /// The file is a tar archive with everything durable but admin.key: the journal, snapshots, rollups, and the keys that
    /// customers' keys and provider credentials are protected with. Keep it as safe as the data directory.
    Backup {
        /// The file to be written; it must not be there yet.
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Makes a data directory from a backup.
    ///
    /// The backup is checked first. The directory must be empty, or not there; it is whole in the end, or as it was; one
    /// that was killed on the way is refused by a start.
    Restore {
        /// The backup.
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Checks everything durable, also while the gateway runs; changes nothing.
    ///
    /// Reads every record, snapshot and rollup, computes all tables and totals anew from the journal and compares. Prints
    /// a line for each finding and exits with 1 if there is any.
    Verify {
        #[command(flatten)]
        place: Place,
    },
    /// Prints what was recorded, also while the gateway runs.
    Export {
        /// Billing events, ascending.
        #[arg(long, required = true)]
        events: bool,
        /// Not before this moment, such as 2026-11-01T00:00:00Z.
        #[arg(long, value_name = "TIME")]
        start_time: Option<String>,
        /// Before this moment.
        #[arg(long, value_name = "TIME")]
        end_time: Option<String>,
        /// Only of this key, by prefix; may be given several times.
        #[arg(long = "api-key", value_name = "PREFIX")]
        api_keys: Vec<String>,
        /// Only of this group; may be given several times.
        #[arg(long = "external-entity-id", value_name = "ID")]
        external_entity_ids: Vec<String>,
        /// One JSON object a line, as the events API gives them, or CSV with a header line.
        #[arg(long, value_enum, default_value_t)]
        format: commands::Format,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Args)]
struct Place {
    /// The data directory [env: TOLLGATE_DATA_DIR] [default: ./data].
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// A TOML file with settings.
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG")]
    config: Option<PathBuf>,
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
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // A standard error that is closed or full must not turn the exit code into a panic's.
            let _ = writeln!(std::io::stderr(), "tollgate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        Command::Serve(serve) => {
            let flags = [("listen", serve.listen), ("admin_listen", serve.admin_listen), ("data_dir", serve.data_dir)];
            let config = load(serve.config, flags)?;
            let admin_key = std::env::var("TOLLGATE_ADMIN_KEY").ok().map(Secret::new);
            app::serve(config, admin_key, serve.demo)?;
        }
        Command::Backup { file, place } => commands::backup(&place.data_dir()?, &file)?,
        Command::Restore { file, place } => commands::restore(&file, &place.data_dir()?)?,
        Command::Verify { place } => return Ok(commands::verify(&place.data_dir()?)?),
        Command::Export { events: _, start_time, end_time, api_keys, external_entity_ids, format, place } => {
            let bounds = (start_time.as_deref(), end_time.as_deref());
            commands::export(&place.data_dir()?, bounds, api_keys, external_entity_ids, format)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Place {
    fn data_dir(self) -> Result<PathBuf, Box<dyn Error>> {
        Ok(load(self.config, [("data_dir", self.data_dir)])?.data_dir)
    }
}

fn load<const N: usize>(
    file: Option<PathBuf>,
    flags: [(&'static str, Option<String>); N],
) -> Result<Config, Box<dyn Error>> {
    let flags: Vec<_> = flags.into_iter().filter_map(|(field, value)| Some((field, value?))).collect();
    let unreadable = |(name, value): &(OsString, OsString)| {
        name.to_str().is_some_and(|name| name.starts_with("TOLLGATE_")) && value.to_str().is_none()
    };
    if let Some((name, _)) = std::env::vars_os().find(unreadable) {
        return Err(format!("{}: its value is not UTF-8", name.display()).into());
    }
    Ok(Config::load(file.as_deref(), |name: &str| std::env::var(name).ok(), &flags)?)
}
