//! `User-Agent`: what the pipe tells of its build is what the server remembers.

use reqwest::header::HeaderValue;
use standpipe_pipe::config::Config;
use standpipe_server::domain::Origin;

use crate::script::Script;

const VARIABLES: [&str; 4] =
    ["BITBUCKET_BUILD_NUMBER", "BITBUCKET_COMMIT", "BITBUCKET_BRANCH", "BITBUCKET_PIPELINE_UUID"];
/// The pipe tells so many bytes of a value.
const TOLD: usize = 200;

/// Any header, and the header of a pipe with four variables, one a line.
pub fn server_origin(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = read(&text);
    let _ = read(&format!("standpipe-pipe/{text}"));
    let mut script = Script::new(data);
    let values = VARIABLES.map(|_| script.text_until(b'\n'));
    let names = ["IMAGE_NAME", "WORKSPACE"].map(|name| (name.to_owned(), "a".to_owned()));
    let told =
        VARIABLES.iter().zip(&values).map(|(name, value)| ((*name).to_owned(), value.clone()));
    let config = Config::from_variables(names.into_iter().chain(told)).1.expect("a name is enough");
    let agent = config.build.user_agent();
    assert!(HeaderValue::try_from(&agent).is_ok(), "no header: {agent:?}");
    let origin = read(&agent);
    let remembered = [origin.build, origin.commit, origin.branch, origin.pipeline];
    for (value, found) in values.iter().zip(remembered) {
        if value.is_empty() {
            assert_eq!(found, None);
        } else if value.len() <= TOLD && !value.contains(char::is_control) {
            assert_eq!(found.as_deref(), Some(value.as_str()), "{agent}");
        } else {
            assert!(found.is_some(), "{value:?} is lost: {agent}");
        }
    }
}

fn read(agent: &str) -> Origin {
    let origin = Origin::from_user_agent(Some(agent));
    let text = origin.user_agent.as_deref().expect("it was given");
    assert!(text.chars().count() <= 256, "{} characters", text.chars().count());
    let Origin { user_agent, pipeline, build, commit, branch } = &origin;
    for part in [user_agent, pipeline, build, commit, branch].into_iter().flatten() {
        assert!(!part.contains(char::is_control), "{part:?}");
        assert!(part.chars().count() <= 256, "{} characters", part.chars().count());
    }
    origin
}
