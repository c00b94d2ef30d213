//! When helpers are offered calls, and when they are waited for.

use super::*;

#[test]
fn helpers_hear_the_next_call_awake_and_asleep() {
    for awake in [LIMIT, Duration::ZERO] {
        let pool = Pool { awake, ..Pool::new(spawn) };
        for call in 0..300 {
            for threads in [[2, 3, 8][call / 100], 2] {
                helpers(&pool).for_each(|helper| helper.set_misses(0)); // even if they were late
                pool.for_each_block(threads, threads, 8, &rendezvous(threads));
            }
        }
    }
}

/// Starts threads that wait until [`HELD_BACK`] is false, as if no processor were free.
fn held_back(thread: ThreadBuilder) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().spawn(|| {
        wait_until("a processor is free", || !HELD_BACK.load(Relaxed));
        thread.run();
    })
}

static HELD_BACK: AtomicBool = AtomicBool::new(true);

#[test]
fn a_call_does_not_wait_for_helpers_that_have_not_begun() {
    thread::spawn(|| {
        thread::sleep(Duration::from_secs(5));
        HELD_BACK.store(false, Relaxed); // fails rather than hang
    });
    let pool = Pool::new(held_back);
    for _ in 0..3 {
        assert_eq!(check(&pool, 100, 4).len(), 1);
    }
    assert!(HELD_BACK.swap(false, Relaxed), "it waited");
    helpers(&pool).for_each(|helper| helper.set_misses(0));
    pool.for_each_block(4, 4, 4, &rendezvous(4)); // now they are there
}

#[test]
fn a_helper_of_no_use_is_offered_calls_that_last_and_now_and_then_another() {
    let pool = Pool::new(spawn);
    pool.for_each_block(2, 2, 2, &rendezvous(2));
    let helper = helpers(&pool).next().unwrap();
    helper.set_misses(0);
    assert!((0..100).all(|_| helper.is_of_use()));
    let caller = thread::current().id();
    let meet = rendezvous(2);
    pool.for_each_block(2, 2, 2, &|block| {
        meet(block);
        if thread::current().id() != caller {
            thread::sleep(Duration::from_millis(500)); // as if preempted
        }
    });
    let calls_to_the_next = || 1 + (0..1000).take_while(|_| !helper.is_of_use()).count();
    assert_eq!([(); 3].map(|()| calls_to_the_next()), [4; 3]);
    helper.set_misses(100);
    calls_to_the_next(); // it may have fewer, since the calls before are counted
    assert_eq!([(); 3].map(|()| calls_to_the_next()), [8; 3]);
    let names = Mutex::new(HashSet::new());
    pool.for_each_block(100, 2, 2, &|_| {
        names.lock().unwrap().insert(thread::current().id());
        thread::sleep(Duration::from_millis(2));
    });
    assert_eq!(names.into_inner().unwrap().len(), 2, "a call of 0.2 s");
    assert!(helper.is_of_use(), "it was of use");
}

#[test]
fn a_helper_that_was_asleep_is_of_use_once_it_is_awake() {
    let pool = Pool { awake: Duration::from_secs(1), ..Pool::new(spawn) };
    pool.for_each_block(2, 2, 2, &rendezvous(2));
    let helper = &pool.first.get().unwrap().helpers[0];
    helper.set_misses(100);
    assert!((0..100).all(|_| helper.is_of_use()));
    wait_until("the helper is asleep", || helper.is_asleep());
    assert_eq!((0..80).filter(|_| helper.is_of_use()).count(), 10);
}

#[test]
fn helpers_go_to_sleep_when_time_is_over() {
    let pool = Pool::new(spawn);
    pool.for_each_block(2, 2, 2, &rendezvous(2));
    let helper = &pool.first.get().unwrap().helpers[0];
    wait_until("the helper is asleep", || helper.is_asleep());
}
