"""R7: crashes that follow each other faster than the supervisor's tasks run."""

from sample_actors import Add, Counter, Fail

from callsheet.runtime import RestartPolicy, open_runtime


async def test_an_actor_that_crashes_right_after_a_restart_is_restarted_again(autojump_clock):
    prompt = RestartPolicy(max_restarts=20, base_s=0.0)
    async with open_runtime("app", restarts=prompt) as runtime:
        counter = await runtime.spawn("counter", Counter)
        for _ in range(20):  # each incarnation finds the next one in its mailbox
            counter.tell_nowait(Fail(ValueError("bug")))
        assert await counter.ask(Add(1), timeout=60) == 1
        assert runtime.snapshot()["app/counter"].incarnation == 21
