use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn attempt_from(account: u32, secret: u32, source: Option<&str>) -> Attempt {
    let fingerprint = |number: u32| {
        let mut fingerprint = [0; 32];
        fingerprint[..4].copy_from_slice(&number.to_be_bytes());
        fingerprint
    };
    Attempt::new(fingerprint(account), fingerprint(secret), source.map(address))
}

fn attempt(account: u32, secret: u32) -> Attempt {
    attempt_from(account, secret, None)
}

fn second(seconds: u64) -> Timestamp {
    Timestamp(1_000_000).plus(Duration::from_secs(seconds))
}

/// Lets a guess in, if the guard does, and counts it.
fn guess(guard: &Guard, attempt: &Attempt, now: Timestamp) -> Result<(), Refused> {
    let admitted = guard.admit(attempt, now)?;
    guard.failed(attempt, admitted, now);
    Ok(())
}

/// Guesses as soon as the guard allows; returns when that was.
fn guess_patiently(guard: &Guard, attempt: &Attempt, now: Timestamp) -> Timestamp {
    match guess(guard, attempt, now) {
        Ok(()) => now,
        Err(Refused::Wait(seconds)) => {
            let then = now.plus(Duration::from_secs(seconds));
            assert_eq!(guess(guard, attempt, then), Ok(()));
            then
        }
        Err(Refused::Wrong) => panic!("a new secret"),
    }
}

#[test]
fn one_stale_password_never_closes_an_account() {
    let guard = Guard::default();
    assert_eq!(guess(&guard, &attempt(1, 7), second(0)), Ok(()));
    for _ in 0..1000 {
        assert_eq!(guess(&guard, &attempt(1, 7), second(0)), Err(Refused::Wrong));
    }
    assert_eq!(guess(&guard, &attempt(1, 8), second(0)), Ok(()));
}

#[test]
fn a_stale_password_is_told_so_while_the_account_is_closed() {
    let guard = Guard::default();
    for secret in 0..10 {
        assert_eq!(guess(&guard, &attempt(1, secret), second(0)), Ok(()));
    }
    assert_eq!(guess(&guard, &attempt(1, 7), second(0)), Err(Refused::Wrong));
    assert_eq!(guess(&guard, &attempt(1, 11), second(0)), Err(Refused::Wait(2)));
}

#[test]
fn of_ten_thousand_guesses_at_most_a_hundred_are_checked_in_an_hour() {
    let guard = Guard::default();
    // The owner was at more places than are known, and goes on logging in from all of them.
    let places: Vec<String> = (0..20).map(|place| format!("192.0.2.{place}")).collect();
    let mut checked = 0;
    for number in 0..10_000_u32 {
        let now = second(u64::from(number) * 3500 / 10_000);
        for place in &places {
            guard.succeeded(&attempt_from(1, 1 << 20, Some(place)), now);
        }
        let from = &places[usize::try_from(number).expect("few") % places.len()];
        // From a place of the owner's, from one that nobody knows, and from nobody knows where.
        for source in [Some(from.as_str()), Some("198.51.100.1"), None] {
            let attempt = attempt_from(1, 3 * number + u32::from(source.is_none()), source);
            checked += usize::from(guess(&guard, &attempt, now).is_ok());
        }
    }
    assert!((FREE_TRIES..=100).contains(&checked), "{checked}");
    assert_eq!(guess(&guard, &attempt(2, 0), second(0)), Ok(()), "another account is free");
}

#[test]
fn sixty_wrong_secrets_close_an_account_for_an_hour() {
    let guard = Guard::default();
    let mut now = second(0);
    for secret in 0..60 {
        now = guess_patiently(&guard, &attempt(1, secret), now);
    }
    assert_eq!(guard.admit(&attempt(1, 500), now), Err(Refused::Wait(3601)));
    assert!(guard.admit(&attempt(1, 500), now.plus(HOUR)).is_ok());
}

#[test]
fn where_the_password_was_right_it_can_be_shown_while_the_account_is_closed() {
    let guard = Guard::default();
    let home = |secret| attempt_from(1, secret, Some("192.0.2.1"));
    guard.succeeded(&home(0), second(0));
    for secret in 100..110 {
        assert_eq!(guess(&guard, &attempt(1, secret), second(0)), Ok(()));
    }
    assert!(guard.admit(&attempt_from(1, 0, Some("192.0.2.2")), second(0)).is_err());
    for secret in 0..5 {
        assert_eq!(guess(&guard, &home(secret), second(0)), Ok(()), "{secret}");
        assert_eq!(guess(&guard, &home(secret), second(0)), Err(Refused::Wrong), "{secret}");
    }
    assert_eq!(guess(&guard, &home(5), second(0)), Err(Refused::Wait(2)));
    for minute in 0..60 {
        // The attack goes on.
        let _ = guess(&guard, &attempt(1, 200 + minute), second(60 * u64::from(minute)));
    }
    assert!(guard.admit(&home(5), second(3601)).is_ok(), "after an hour there are five again");
}

#[test]
fn the_owner_waits_neither_for_the_account_nor_for_the_source() {
    let guard = Guard::default();
    let owner = attempt_from(1, 0, Some("192.0.2.1"));
    guard.succeeded(&owner, second(0));
    for account in 100..130 {
        let attempt = attempt_from(account, account, Some("192.0.2.1"));
        assert_eq!(guess(&guard, &attempt, second(0)), Ok(()));
    }
    let stranger = attempt_from(2, 0, Some("192.0.2.1"));
    assert!(matches!(guard.admit(&stranger, second(0)), Err(Refused::Wait(_))));
    assert!(guard.admit(&owner, second(0)).is_ok_and(|admitted| admitted.known));
}

#[test]
fn a_source_gets_thirty_wrong_secrets_a_minute_over_all_accounts() {
    let from = |source: &str, account: u32| attempt_from(account, account, Some(source));
    for source in ["2001:db8::1", "127.0.0.1", "::ffff:192.0.2.1"] {
        let guard = Guard::default();
        for account in 0..30 {
            assert_eq!(guess(&guard, &from(source, account), second(10)), Ok(()), "{source}");
        }
        let next = guard.admit(&from(source, 99), second(10));
        assert_eq!(next, Err(Refused::Wait(61)), "{source}");
        assert!(guard.admit(&from(source, 99), second(70)).is_ok(), "{source}");
        assert!(guard.admit(&from("203.0.113.1", 99), second(10)).is_ok(), "another source");
    }
}

#[test]
fn a_network_of_an_ipv6_customer_is_one_source_and_a_mapped_address_the_one_it_maps() {
    let guard = Guard::default();
    let closed = |source: &str| {
        let attempt = attempt_from(99, 99, Some(source));
        guard.admit(&attempt, second(0)).is_err()
    };
    for secret in 0..30 {
        for (account, source) in [(1000, "2001:db8::1"), (2000, "::ffff:192.0.2.1")] {
            let attempt = attempt_from(account + secret, secret, Some(source));
            assert_eq!(guess(&guard, &attempt, second(0)), Ok(()));
        }
    }
    assert!(closed("2001:db8::2"), "the same network");
    assert!(!closed("2001:db8:0:1::1"), "the next one");
    assert!(closed("192.0.2.1"));
    assert!(!closed("192.0.2.2"));
}

#[test]
fn memory_is_bounded_and_the_attacked_account_stays_closed() {
    let guard = Guard::default();
    for secret in 0..15 {
        let _ = guess_patiently(&guard, &attempt(1 << 20, secret), second(0));
    }
    for name in 0..10_000_u32 {
        let flood = attempt(name, 1);
        assert_eq!(guess(&guard, &flood, second(1)), Ok(()));
        guard.succeeded(&attempt_from(name, 2, Some("192.0.2.1")), second(1));
    }
    assert!(guard.lock().watched.len() <= MOST_WATCHED);
    assert!(guard.lock().known.len() <= known::MOST_ACCOUNTS);
    assert!(guard.admit(&attempt(1 << 20, 99), second(1)).is_err());
}
