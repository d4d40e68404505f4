//! Forms: fields with labels, hints and the values that were sent.
//!
//! Invariant: every form has a token, every field a label. A password is never put back into a field.

use super::error::{Why, sentence};
use super::fields::Fields;
use super::page::{Html, token};
use super::parts::notice;
use super::viewer::Viewer;
use maud::{Markup, html};

/// What a field is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A line of text.
    Text,
    /// A number.
    Number,
    /// A password: one that is there, or a new one.
    Password {
        /// Whether a browser should offer to make one.
        new: bool,
    },
    /// One of several: values and labels.
    Choice(Vec<(String, String)>),
    /// A box to tick.
    Tick,
    /// Several lines.
    Lines,
    /// Several of some values, each with its label and whether it is ticked at first.
    Ticks(Vec<(&'static str, &'static str, bool)>),
}

/// A field of a form.
#[derive(Clone, Debug)]
pub(super) struct Field {
    name: &'static str,
    label: &'static str,
    hint: String,
    kind: Kind,
    value: String,
    required: bool,
}

impl Field {
    /// A line of text.
    pub(super) fn text(name: &'static str, label: &'static str) -> Self {
        let (hint, value) = Default::default();
        Self { name, label, hint, kind: Kind::Text, value, required: false }
    }

    /// Another kind of field.
    pub(super) fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// One of several values that are their own labels.
    pub(super) fn choice<T: ToString, U: ToString>(
        self,
        all: impl IntoIterator<Item = (T, U)>,
    ) -> Self {
        let all = all.into_iter().map(|(value, label)| (value.to_string(), label.to_string()));
        self.kind(Kind::Choice(all.collect()))
    }

    /// What to know about it.
    pub(super) fn hint(mut self, hint: impl ToString) -> Self {
        self.hint = hint.to_string();
        self
    }

    /// What is in it at first.
    pub(super) fn value(mut self, value: impl ToString) -> Self {
        self.value = value.to_string();
        self
    }

    /// It must be filled in.
    pub(super) const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    fn show(&self, refusal: Option<&Refusal<'_>>) -> Markup {
        if let Kind::Ticks(all) = &self.kind {
            return self.show_ticks(all, refusal);
        }
        let sent = refusal.map(|refusal| refusal.sent);
        let value = sent.map_or(self.value.as_str(), |sent| sent.exact(self.name));
        let why = self.wrong(refusal);
        let hint = match (!self.hint.is_empty(), why) {
            (true, Some(_)) => Some(format!("wrong-{0} hint-{0}", self.name)),
            (true, None) => Some(format!("hint-{}", self.name)),
            (false, Some(_)) => Some(format!("wrong-{}", self.name)),
            (false, None) => None,
        };
        let invalid = why.map(|_| "true");
        let id = format!("field-{}", self.name);
        let required = self.required;
        html! {
            div class={ "field" @if matches!(self.kind, Kind::Tick) { " tick" } } {
                label for=(id) { (self.label) @if !required && !matches!(self.kind, Kind::Tick | Kind::Choice(_)) { span.quiet { " (optional)" } } }
                @match &self.kind {
                    Kind::Text => {
                        input id=(id) name=(self.name) type="text" value=(value) required[required] autocomplete="off" autocapitalize="none" spellcheck="false" aria-describedby=[hint.as_deref()] aria-invalid=[invalid];
                    }
                    Kind::Number => {
                        input id=(id) name=(self.name) type="number" min="0" value=(value) required[required] aria-describedby=[hint.as_deref()] aria-invalid=[invalid];
                    }
                    Kind::Password { new } => {
                        input id=(id) name=(self.name) type="password" required[required] autocomplete=(if *new { "new-password" } else { "current-password" }) aria-describedby=[hint.as_deref()] aria-invalid=[invalid];
                    }
                    Kind::Choice(all) => {
                        select id=(id) name=(self.name) aria-describedby=[hint.as_deref()] aria-invalid=[invalid] {
                            @for (choice, label) in all {
                                option value=(choice) selected[choice == value] { (label) }
                            }
                        }
                    }
                    Kind::Tick => {
                        input id=(id) name=(self.name) type="checkbox" value="yes" checked[!value.is_empty()] aria-describedby=[hint.as_deref()] aria-invalid=[invalid];
                    }
                    Kind::Lines => {
                        textarea id=(id) name=(self.name) rows="3" autocomplete="off" spellcheck="false" aria-describedby=[hint.as_deref()] aria-invalid=[invalid] { (value) }
                    }
                    // It has a form of its own.
                    Kind::Ticks(_) => {}
                }
                (self.below(why))
            }
        }
    }

    /// Several boxes under one question.
    fn show_ticks(
        &self,
        all: &[(&'static str, &'static str, bool)],
        refusal: Option<&Refusal<'_>>,
    ) -> Markup {
        let ticked = |value: &str, at_first: bool| match refusal {
            Some(refusal) => refusal.sent.all(self.name).any(|one| one == value),
            None => at_first,
        };
        html! {
            fieldset.field {
                legend { (self.label) }
                @for (value, label, at_first) in all {
                    @let id = format!("field-{}-{value}", self.name);
                    div.tick {
                        input id=(id) name=(self.name) type="checkbox" value=(value) checked[ticked(value, *at_first)];
                        label for=(id) { (label) }
                    }
                }
                (self.below(self.wrong(refusal)))
            }
        }
    }

    /// What is wrong with it.
    fn wrong<'a>(&self, refusal: Option<&Refusal<'a>>) -> Option<&'a str> {
        let (name, reason) = refusal?.why.field.as_ref()?;
        (*name == self.name).then_some(reason.as_str())
    }

    fn below(&self, why: Option<&str>) -> Markup {
        html! {
            @if let Some(why) = why { p.wrong id={ "wrong-" (self.name) } { (sentence(why)) } }
            @if !self.hint.is_empty() { p.hint id={ "hint-" (self.name) } { (self.hint) } }
        }
    }
}

/// A form that is sent to one of our addresses.
pub(super) struct Form<'a> {
    /// Who sends it.
    pub(super) viewer: &'a Viewer,
    /// Where to.
    pub(super) action: String,
    /// What the button says.
    pub(super) submit: &'static str,
    /// The fields.
    pub(super) fields: Vec<Field>,
}

/// What was sent and why it was refused.
pub(super) struct Refusal<'a> {
    /// What was sent.
    pub(super) sent: &'a Fields,
    /// Why it was refused.
    pub(super) why: &'a Why,
}

/// Fields with what was sent and refused if it was; the reason stands above them and beside its own.
pub(super) fn fields_of(fields: &[Field], refusal: Option<&Refusal<'_>>) -> Markup {
    html! {
        @if let Some(refusal) = refusal { (notice_of(fields, refusal)) }
        @for field in fields { (field.show(refusal)) }
    }
}

fn notice_of(fields: &[Field], refusal: &Refusal<'_>) -> Markup {
    let about = |field: &Field| Some((field.label, field.wrong(Some(refusal))?));
    let message = html! {
        @match fields.iter().find_map(about) {
            Some((label, reason)) => { p { strong { (label) ": " } (reason) } }
            None => { p { (refusal.why.text) } }
        }
    };
    notice("bad", &message)
}

impl Form<'_> {
    /// The form, with what was sent and refused if it was.
    pub(super) fn show(&self, refusal: Option<&Refusal<'_>>) -> Markup {
        html! {
            form.stack method="post" action=(self.action) {
                (token(self.viewer))
                (fields_of(&self.fields, refusal))
                div.actions { button.main type="submit" { (self.submit) } }
            }
        }
    }
}

/// A form of one button.
pub(super) fn button(
    viewer: &Viewer,
    action: &str,
    kind: &str,
    label: &str,
    hidden: &[(&str, &str)],
) -> Markup {
    html! {
        form.inline method="post" action=(action) {
            (token(viewer))
            @for (name, value) in hidden { input type="hidden" name=(name) value=(value); }
            button class=(kind) type="submit" { (label) }
        }
    }
}

/// A button that asks once more before it does something that cannot be taken back at once. Without
/// the script it opens, and the second button is inside.
pub(super) fn sure(
    viewer: &Viewer,
    action: &str,
    label: &str,
    question: &str,
    hidden: &[(&str, &str)],
) -> Markup {
    html! {
        details.sure {
            summary.button.bad { (label) }
            div.pop {
                p { (question) }
                (button(viewer, action, "bad", label, hidden))
            }
        }
    }
}

/// A page with a form again after it was refused, if a person can do something about it.
pub(super) fn again(
    error: super::error::WebError,
    page: impl FnOnce(&Why) -> Html,
) -> Result<Html, super::error::WebError> {
    match error.words() {
        Some((status, why)) if status != axum::http::StatusCode::NOT_FOUND => {
            Ok(page(&why).with(status))
        }
        _ => Err(error),
    }
}
