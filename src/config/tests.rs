use super::*;

fn load(file: &str, environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tollgate.toml");
    std::fs::write(&path, file).unwrap();
    let variable = |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, v)| v.to_string());
    let flags: Vec<_> = flags.iter().map(|(field, value)| (*field, value.to_string())).collect();
    Config::load(Some(&path), variable, &flags).map_err(|error| error.to_string())
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let file = "max_body = \"1MiB\"\nworkers = 3\nstrict_output = 7\n[upstream]\nidle_timeout = \"9s\"";
    let environment =
        [("TOLLGATE_MAX_BODY", "2MiB"), ("TOLLGATE_WORKERS", "4"), ("TOLLGATE_UPSTREAM_IDLE_TIMEOUT", "1m")];
    let config = load(file, &environment, &[("workers", "5")]).unwrap();
    assert_eq!((config.max_body, config.workers, config.strict_output), (2 << 20, 5, 7));
    assert!(config.show_cost);
    assert_eq!(config.metrics_groups, 0);
    assert!(!load("show_cost = false", &[], &[]).unwrap().show_cost);
    assert!(!load("", &[("TOLLGATE_SHOW_COST", "false")], &[]).unwrap().show_cost);
    assert_eq!(config.upstream.idle_timeout, Duration::from_secs(60));
    assert_eq!(config.upstream.connect_timeout, Duration::from_secs(5));
    assert_eq!(config.events_retention, Duration::from_secs(400 * 86_400));
}

#[test]
fn the_largest_body_fits_within_the_limit_of_all_bodies() {
    let default = load("", &[], &[]).unwrap();
    assert!(default.max_bodies <= 1 << 30 && default.max_body <= default.max_bodies);
    let large = load("max_body = \"3GiB\"", &[], &[]).unwrap();
    assert_eq!((large.max_body, large.max_bodies), (3 << 30, 3 << 30));
    let both = load("max_body = \"1KiB\"\nmax_bodies = \"2KiB\"", &[], &[]).unwrap();
    assert_eq!((both.max_body, both.max_bodies), (1 << 10, 2 << 10));
}

#[test]
fn shares_for_alerts_are_a_list_or_a_text_with_commas_and_may_be_none() {
    let read = |file: &str| load(file, &[], &[]).unwrap().alert_at.to_vec();
    assert_eq!(read(""), [75, 90, 100]);
    assert_eq!(read("alert_at = [100, 50]"), [50, 100]);
    assert_eq!(read("alert_at = '50, 100'"), [50, 100]);
    assert_eq!(load("alert_at = [50]", &[("TOLLGATE_ALERT_AT", "")], &[]).unwrap().alert_at.len(), 0);
}

#[test]
fn every_field_has_a_variable_and_an_error_that_names_both() {
    for field in FIELDS {
        let variable = variable(field);
        let error = load("", &[(&variable, "\u{7f}\"[")], &[]);
        if field == "data_dir" {
            assert!(error.is_ok());
            continue;
        }
        if field.contains("tls.") {
            // Every text is a path. The error is about the other field of the section.
            assert!(error.unwrap_err().contains("must be set"));
            continue;
        }
        let error = error.unwrap_err();
        assert!(error.contains(field) && error.contains(&variable), "{error}");
    }
    for (file, named) in [
        ("max_bodi = 1", "max_bodi"),
        ("max_body = \"1 parsec\"", "max_body"),
        ("max_body = -1", "max_body"),
        ("[upstream]\nidle_timeout = true", "upstream.idle_timeout"),
        ("[upstream]\nidel = 1", "idel"),
        ("workers = 1.5", "workers"),
        ("shutdown_grace = \"0s\"", "shutdown_grace"),
        ("upstream = 3", "upstream"),
        ("max_bodies = \"1MiB\"", "max_bodies"),
        ("time_zone = \"Europe/Atlantis\"", "time_zone"),
        ("time_zone = 1", "time_zone"),
        ("show_cost = 1", "show_cost"),
        ("show_cost = \"yes\"", "show_cost"),
        ("alert_at = 75", "alert_at"),
        ("alert_at = [75.5]", "alert_at"),
        ("alert_at = [\"75\"]", "alert_at"),
        ("alert_at = [0]", "alert_at"),
        ("alert_at = [-1]", "alert_at"),
        ("alert_at = [101]", "alert_at"),
        ("alert_at = [75, 75]", "alert_at"),
        ("smtp = 3", "smtp"),
        ("[smtp]\nurl = \"http://a.example\"", "smtp.url"),
        ("[smtp]\nfrom = \"nobody\"", "smtp.from"),
        ("[smtp]\nto = [\"nobody\"]", "smtp.to"),
        ("[smtp]\nurl = \"smtp://a.example\"\nto = [\"a@a.example\"]", "smtp.from"),
        ("[smtp]\nurl = \"smtp://a.example\"\nfrom = \"a@a.example\"", "smtp.to"),
        ("[smtp]\nuri = \"\"", "uri"),
        ("x", "not TOML"),
    ] {
        let error = load(file, &[], &[]).unwrap_err();
        assert!(error.contains(named), "{file}: {error}");
    }
}

#[test]
fn a_certificate_and_its_key_are_set_together_or_not_at_all() {
    let set = load("[tls]\ncert = \"a.pem\"\n", &[("TOLLGATE_TLS_KEY", "b.pem")], &[]).unwrap();
    assert_eq!(set.tls.files(), Some((Path::new("a.pem"), Path::new("b.pem"))));
    assert!(!set.admin_tls.is_on());
    assert!(!load("[admin_tls]\ncert = \"\"\nkey = \"\"\n", &[], &[]).unwrap().admin_tls.is_on());
    for (variable, error) in [
        ("TOLLGATE_TLS_CERT", "tls.key: must be set, because tls.cert is set"),
        ("TOLLGATE_TLS_KEY", "tls.cert: must be set, because tls.key is set"),
        ("TOLLGATE_ADMIN_TLS_CERT", "admin_tls.key: must be set, because admin_tls.cert is set"),
        ("TOLLGATE_ADMIN_TLS_KEY", "admin_tls.cert: must be set, because admin_tls.key is set"),
    ] {
        assert_eq!(load("", &[(variable, "a.pem")], &[]).unwrap_err(), error);
    }
}

#[test]
fn the_admin_url_is_https_if_the_admin_listener_is() {
    let admin_tls = "[admin_tls]\ncert = \"a.pem\"\nkey = \"b.pem\"\n";
    let load = |url: &str, tls: &str| load(&format!("admin_url = \"{url}\"\n{tls}"), &[], &[]);
    let is_https = |url: &str, tls: &str| load(url, tls).unwrap().is_admin_https();
    assert!(
        is_https("", admin_tls) && is_https("https://box.example", admin_tls) && is_https("https://box.example", "")
    );
    assert!(!is_https("", "") && !is_https("http://box.example", ""));
    assert!(load("http://box.example", admin_tls).unwrap_err().starts_with("admin_url: must be an https URL"));
}

#[test]
fn the_layers_of_the_mail_settings_add_up_and_no_error_shows_the_password() {
    let file = "[smtp]\nfrom = \"a@a.example\"";
    let url = ("TOLLGATE_SMTP_URL", "smtps://me:hunter2@mail.example");
    let config = load(file, &[url, ("TOLLGATE_SMTP_TO", "b@b.example, c@c.example")], &[]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let mail = config.mail.unwrap();
    assert_eq!((mail.server.name().as_str(), mail.to.len()), ("mail.example:465", 2));
    assert!(load(file, &[], &[]).unwrap().mail.is_none());
    for (file, named) in [
        ("[smtp]\nurl = \"smtps://me:hunter2@mail.example\n", "line 2"),
        ("[smtp]\nurl = \"smtps://me:hunter2@mail.example\"\nurl = \"smtps://me:hunter2@mail.example\"", "line 3"),
        ("[smtp]\nurl = smtps://me:hunter2@mail.example", "line 2"),
        ("[smtp]\nurl = \"smtps://me:hunter2@mail.example/x\"", "smtp.url"),
        ("smtp = \"smtps://me:hunter2@mail.example\"", "smtp"),
        ("[smtp]\nto = {url = \"smtps://me:hunter2@mail.example\"}", "smtp.to"),
    ] {
        let error = load(file, &[], &[]).unwrap_err();
        assert!(error.contains(named) && !error.contains("hunter2"), "{error}");
    }
}
