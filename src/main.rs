//! The `tollgate` binary: parses the command line and runs the command.

use std::{error::Error, ffi::OsString, io::Write, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory, Parser, Subcommand};
use tollgate::{app, commands, config::Config, crypto::secret::Secret, panics};

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
    /// Customers call the inference listener; operators use the admin listener. Every setting can also be given in the
    /// config file, or in the environment as TOLLGATE_ followed by its name in capitals. Flags override the
    /// environment, which overrides the file. The documentation lists all settings. TOLLGATE_ADMIN_KEY is an operator
    /// key that is valid while the variable is set.
    Serve(Serve),
    /// Writes a backup to a file. The gateway may be running.
    ///
    /// The file is a tar archive of all durable data except admin.key: the journal, the snapshots, the rollups, and the
    /// keys that protect customers' keys and provider credentials. Keep it as safe as the data directory.
    Backup {
        /// The file to write; it must not exist yet.
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Creates a data directory from a backup.
    ///
    /// The directory must be empty or not exist. The backup is checked first. If the restore fails, the directory is
    /// left as it was. If the restore is killed, the gateway refuses to start with the unfinished directory.
    Restore {
        /// The backup file.
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Checks all durable data and changes nothing. The gateway may be running.
    ///
    /// Reads every record, snapshot and rollup, recomputes all tables and totals from the journal and compares them.
    /// Prints a line for each problem, and exits with 1 if there is any.
    Verify {
        #[command(flatten)]
        place: Place,
    },
    /// Prints recorded events. The gateway may be running.
    Export {
        /// Print billing events, oldest first.
        #[arg(long, required = true)]
        events: bool,
        /// The earliest time (inclusive), such as 2026-11-01T00:00:00Z.
        #[arg(long, value_name = "TIME")]
        start_time: Option<String>,
        /// The end of the time range (exclusive).
        #[arg(long, value_name = "TIME")]
        end_time: Option<String>,
        /// Only events of the key with this prefix; may be given several times.
        #[arg(long = "api-key", value_name = "PREFIX")]
        api_keys: Vec<String>,
        /// Only events of the group with this external id; may be given several times.
        #[arg(long = "external-entity-id", value_name = "ID")]
        external_entity_ids: Vec<String>,
        /// One JSON object per line, as in the events API, or CSV with a header line.
        #[arg(long, value_enum, default_value_t)]
        format: commands::Format,
        #[command(flatten)]
        place: Place,
    },
    /// Checks the settings and the data directory as `serve` reads them. Starts nothing and changes nothing.
    ///
    /// Prints a line for each problem, and exits with 1 if there is any. The gateway may be running.
    Check(Settings),
    /// Asks the gateway of these settings whether it is ready. Exits with 1 if it is not.
    Health {
        /// The address that customers call [env: TOLLGATE_LISTEN] [default: 127.0.0.1:8080].
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
        /// A TOML file with settings.
        #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG")]
        config: Option<PathBuf>,
    },
    /// Makes the endpoints, groups, secrets and webhooks of a gateway equal to those of a file.
    ///
    /// Prints the plan first: lines with + for what is created, ~ for what changes and - for what is deleted. Stops at
    /// the first error and says what has been done. TOLLGATE_ADMIN_KEY must be an operator key of the gateway. Exits
    /// with 0 if everything is as in the file, and with 1 after an error.
    Apply {
        /// A YAML or JSON file; - for standard input.
        file: PathBuf,
        /// Print the plan and change nothing. Exit with 2 if there is something to do.
        #[arg(long)]
        dry_run: bool,
        /// Delete everything that the file does not name, with the keys of deleted groups.
        #[arg(long)]
        prune: bool,
        /// Also write the values of secrets that exist already, which cannot be compared.
        #[arg(long)]
        update_secrets: bool,
        /// Write the signing secrets of new webhooks to this new file, a JSON object on each line.
        #[arg(long, value_name = "FILE")]
        webhook_secrets: Option<PathBuf>,
        #[command(flatten)]
        remote: Remote,
    },
    /// Prints a file for apply with the endpoints, groups, secrets (without values) and webhooks of a gateway.
    ///
    /// TOLLGATE_ADMIN_KEY must be an operator key of the gateway.
    Dump {
        #[command(flatten)]
        remote: Remote,
    },
    /// Prints a file for apply that is made from another gateway's configuration.
    Import {
        #[command(subcommand)]
        from: ImportFrom,
    },
    /// Prints a script that completes this command's arguments in a shell.
    ///
    /// For example: tollgate completions bash > /etc/bash_completion.d/tollgate
    Completions {
        /// The shell.
        shell: commands::Shell,
    },
    /// Writes the man pages of this command and its subcommands.
    Man {
        /// The directory to write to; it is created if it does not exist.
        directory: PathBuf,
    },
}

#[derive(Subcommand)]
enum ImportFrom {
    /// Reads a LiteLLM config.yaml: models, servers, rpm and tpm.
    ///
    /// Everything that cannot be taken over becomes a comment with the reason. Keys are never copied: the file names
    /// environment variables.
    Litellm {
        /// LiteLLM's configuration; - for standard input.
        config: PathBuf,
        /// The first part of the slugs of models whose name has none.
        #[arg(long, value_name = "NAME", default_value = "default")]
        org: String,
    },
}

#[derive(Args)]
struct Remote {
    /// The URL of the gateway's admin listener [default: that of the settings].
    #[arg(long, value_name = "URL")]
    admin_url: Option<String>,
    /// A TOML file with settings.
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG")]
    config: Option<PathBuf>,
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
struct Settings {
    /// The address that customers call [env: TOLLGATE_LISTEN] [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The address of the admin API and web UI [env: TOLLGATE_ADMIN_LISTEN] [default: 127.0.0.1:8081].
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<String>,
    /// The data directory; only one process can use it at a time [env: TOLLGATE_DATA_DIR] [default: ./data].
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// A TOML file with settings.
    #[arg(long, value_name = "FILE", env = "TOLLGATE_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct Serve {
    #[command(flatten)]
    settings: Settings,
    /// If the data directory is empty, also creates an endpoint, a group and a key to try the gateway with.
    #[arg(long)]
    demo: bool,
}

fn main() -> ExitCode {
    panics::install_hook();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // clap's code for a wrong command line is 2, which has another meaning for `apply --dry-run`.
            let is_apply = std::env::args_os().nth(1).is_some_and(|word| word == "apply");
            return match (error.exit_code(), is_apply) {
                (0, _) => ExitCode::SUCCESS,
                (_, true) => ExitCode::FAILURE,
                (code, false) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
            };
        }
    };
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            // Not `eprintln!`: it panics if standard error is closed or full, which would change the exit code.
            let _ = writeln!(std::io::stderr(), "tollgate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    match command {
        Command::Serve(serve) => {
            let config = serve.settings.load()?;
            app::serve(config, admin_key(), serve.demo)?;
        }
        Command::Backup { file, place } => commands::backup(&place.data_dir()?, &file)?,
        Command::Restore { file, place } => commands::restore(&file, &place.data_dir()?)?,
        Command::Verify { place } => return Ok(commands::verify(&place.data_dir()?)?),
        Command::Export { events: _, start_time, end_time, api_keys, external_entity_ids, format, place } => {
            let bounds = (start_time.as_deref(), end_time.as_deref());
            commands::export(&place.data_dir()?, bounds, api_keys, external_entity_ids, format)?;
        }
        Command::Check(settings) => return Ok(commands::check(&settings.load()?, admin_key().as_ref())?),
        Command::Health { listen, config } => commands::health(&load(config, [("listen", listen)])?)?,
        Command::Apply { file, dry_run, prune, update_secrets, webhook_secrets, remote } => {
            let apply = commands::Apply { file, dry_run, prune, update_secrets, webhook_secrets };
            return Ok(commands::apply(&apply, &remote.url()?, admin_key())?);
        }
        Command::Import { from: ImportFrom::Litellm { config, org } } => commands::litellm(&config, &org)?,
        Command::Dump { remote } => commands::dump(&remote.url()?, admin_key())?,
        Command::Completions { shell } => commands::completions(Cli::command(), shell)?,
        Command::Man { directory } => commands::man_pages(Cli::command(), &directory)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The value of `TOLLGATE_ADMIN_KEY`.
fn admin_key() -> Option<Secret> {
    std::env::var("TOLLGATE_ADMIN_KEY").ok().map(Secret::new)
}

impl Settings {
    fn load(self) -> Result<Config, Box<dyn Error>> {
        let flags = [("listen", self.listen), ("admin_listen", self.admin_listen), ("data_dir", self.data_dir)];
        load(self.config, flags)
    }
}

impl Remote {
    fn url(self) -> Result<String, Box<dyn Error>> {
        match self.admin_url {
            Some(url) => Ok(url),
            None => Ok(commands::admin_url(&load(self.config, [])?)?),
        }
    }
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
        return Err(format!("{}: the value is not UTF-8", name.display()).into());
    }
    Ok(Config::load(file.as_deref(), |name: &str| std::env::var(name).ok(), &flags)?)
}
