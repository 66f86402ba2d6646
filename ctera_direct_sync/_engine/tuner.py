"""Finds how many jobs to run at once, by a model of the link and by measuring. Pure: times are arguments.

The model is Little's law: the jobs that run at once are their rate times the time that each takes. While
few jobs run, the link is not full, so each takes its shortest time. Twice as many then bring twice the
rate, until something is full: the line, the portal, or the processors. Once it is full, more jobs only
make each of them take longer. Three estimates follow from that:

- A job waits for its first byte, and then its body arrives. While one waits, the bodies of others can
  arrive. So the time of a job divided by that of its body is a number of jobs that the line can carry.
  It is too low where each connection is slower than the line.
- The time of a job divided by the processor time that it costs is a number of jobs that keeps the
  processors busy. More never helps.
- If a trial with more jobs brings `g` times the rate, the number before times `g` would do.

An estimate is only tried. A number stays if it brings more bytes per second. Fewer jobs are tried as well,
since on a fast link more jobs compete for the interpreter's lock.
"""

from __future__ import annotations

import math

__all__ = ["Tuner"]

#: One measurement takes at least this long, and this many jobs for each one that runs. The first look at
#: a trial with fewer jobs takes a third of them: a clear loss ends it.
_MIN_MEASUREMENT_S = 0.05
_COUNT_PER_JOB = 3
_CLEAR_LOSS = 0.85
#: The first climb has no time for that, since a short download is over in a second. It takes the rate of a
#: job, instead of that of all, from this share of the jobs that run, and from two at least.
_CLIMB_SHARE = 0.5
_MIN_CLIMB_COUNT = 2
#: Jobs beyond those that an estimate asks for, since they do not end evenly.
_MARGIN = 1.25
#: More jobs stay if they bring this much more. Fewer stay if they cost no more than this.
_MIN_GAIN = 1.10
_MAX_LOSS = 0.97
#: A smaller gain may come by chance on a busy machine: the number before is measured once more. So it is
#: after a gain that exceeds the growth of the number by this factor: the link changed, and not by us.
_CLEAR_GAIN = 1.5
_MAX_EFFICIENCY = 1.3
#: One step multiplies the number by this. The larger one is for the first climb, while jobs are quick and
#: each trial pays. The time that each job waits for its first byte may ask for a larger step still.
_STEP = 2
_LARGE_STEP = 4
_MAX_STEP = 64
_QUICK_S = 0.6
#: The efficiency of a trial that paid: the growth of the rate by the growth of the number.
_PAID = 0.7
#: A trial with fewer jobs divides the number by this.
_DOWN_STEP = 1.5
#: Jobs that wait for the link get no fewer than this by a trial: a link whose bandwidth varies needs them.
_FEW = 4
#: Jobs that compute for more than this share of their time hardly wait for the link. The first trial then
#: comes after a rest, since it would cost a short download more than it can gain.
_BUSY_SHARE = 0.4
#: It takes `_BUSY_LOOKS` measurements to believe that: the first jobs also start threads and load modules.
_BUSY_LOOKS = 3
#: Measurements between two trials once the number has settled. A trial that fails doubles it.
_FIRST_REST = 2
_BUSY_REST = 12
_MAX_REST = 200
#: The shortest time of a job is forgotten by this factor at each measurement: links change.
_BASE_GROWTH = 1.1
#: The link changed if less than this share of the rate is left, or if the rate grew by its inverse, in
#: `_STRANGE` measurements in a row.
_SAME_LINK = 0.5
_STRANGE = 2
#: Seconds for which an overload is remembered.
_OVERLOAD_S = 15.0


class Tuner:
    """The number of concurrent jobs that serves best.

    Not thread-safe: its user has a lock.

    Args:
        maximum: The most jobs.
        initial: The number to start with.
        minimum: No trial goes below this number. Only `overloaded` does.
        processors: How many jobs can compute at once.
        bytes_per_job: A job counts as this many bytes in addition to its own.

    Attributes:
        limit: The number of jobs to run at once now.
        wants_start: Whether `start` is due with the next job that begins.
    """

    def __init__(
        self,
        maximum: int,
        initial: int,
        *,
        minimum: int = 1,
        processors: int = 1,
        bytes_per_job: int = 0,
    ) -> None:
        self._maximum = maximum
        self._minimum = min(minimum, maximum)
        self._processors = processors
        self._bytes_per_job = bytes_per_job
        self.limit = max(1, min(maximum, initial))
        self.wants_start = True
        #: The number before the trial that runs, or None, and what that number brought.
        self._before: int | None = None
        self._settled_rate = 0.0
        #: Whether the trial that runs was measured already.
        self._has_looked = False
        #: Number and rate of a trial that is to be confirmed.
        self._candidate: tuple[int, float] | None = None
        self._up = True
        self._step = _LARGE_STEP
        self._is_climbing = True
        self._has_tried = False
        self._is_busy = False
        #: Measurements so far in which jobs computed most of the time, before the first trial.
        self._busy_looks = 0
        #: Measurements until the next trial, and until the one after a failed trial.
        self._rest = 0
        self._next_rest = _FIRST_REST
        #: The shortest time of a job, on average.
        self._base_s = math.inf
        #: The most jobs after an overload, and until when.
        self._ceiling = maximum
        self._ceiling_until = -math.inf
        #: The last rate of this link, and how many measurements in a row were those of another link.
        self._usual_rate = 0.0
        self._strange = 0
        self._changed_at = -math.inf
        #: Jobs that end before the next measurement begins: they began before the number changed.
        self._skipped = 0
        #: When the measurement began. None: the next job that ends begins one.
        self._since: float | None = None
        self._cpu_since = 0.0
        self._count = self._bytes = 0
        self._seconds = 0.0

    def start(self, now: float, cpu: float) -> None:
        """Note that the first job begins, or the first after a time with too few of them.

        Args:
            now: The time in seconds.
            cpu: The processor time of this process in seconds.
        """
        self.wants_start = False
        self._begin(now, cpu)

    def idle(self) -> None:
        """Discard the current measurement: fewer jobs than `limit` run."""
        self._since = None
        self.wants_start = not self._has_tried

    def completed(self, nbytes: int, seconds: float, now: float) -> bool:
        """Count a job that ended while `limit` jobs ran.

        Args:
            nbytes: Its size in bytes.
            seconds: The time that it took.
            now: The time in seconds.

        Returns:
            Whether a measurement begins or ends: then `measure` is due.
        """
        if self._is_climbing:
            if now - seconds < self._changed_at:
                return False
        elif self._skipped:
            self._skipped -= 1
            self._since = None
            return not self._skipped
        if self._since is None:
            return True
        self._count += 1
        self._bytes += nbytes
        self._seconds += seconds
        return self._count >= self._needed_count() and now - self._since >= _MIN_MEASUREMENT_S

    def measure(self, now: float, cpu: float, body_share: float | None = None) -> None:
        """Begin or end a measurement, right after `completed` returned True.

        Args:
            now: The time in seconds.
            cpu: The processor time of this process in seconds.
            body_share: For which share of their time the last jobs received their body. None: unknown.
        """
        if self._since is not None and self._count:
            elapsed = max(now - self._since, 1e-9)
            self._judge(now, elapsed, max(cpu - self._cpu_since, 0.0), body_share)
        self._begin(now, cpu)

    def overloaded(self, now: float) -> None:
        """Note that portal or storage failed a request although it was repeated: use half as many.

        Args:
            now: The time in seconds.
        """
        self._ceiling = max(1, self.limit // 2)
        self._ceiling_until = now + _OVERLOAD_S
        self._before = self._candidate = None
        self._is_climbing = False
        self._step = _STEP
        self._rest = 0
        self._use(self.limit, now)

    # --- measuring -------------------------------------------------------------------------------

    def _begin(self, now: float, cpu: float) -> None:
        self._since, self._cpu_since = now, cpu
        self._count = self._bytes = 0
        self._seconds = 0.0

    def _needed_count(self) -> float:
        """Return how many jobs a measurement takes."""
        if self._is_climbing:
            return max(_MIN_CLIMB_COUNT, _CLIMB_SHARE * self.limit)
        return self.limit if self._is_first_look_down() else _COUNT_PER_JOB * self.limit

    def _is_first_look_down(self) -> bool:
        return self._before is not None and self.limit < self._before and not self._has_looked

    def _judge(self, now: float, elapsed: float, cpu: float, body_share: float | None) -> None:
        count, limit = self._count, self.limit
        nbytes = self._bytes + self._bytes_per_job * count
        if self._is_climbing:
            job_s = max(self._seconds / count, 1e-9)
            rate = limit * nbytes / count / job_s
        else:
            job_s = elapsed * limit / count
            rate = nbytes / elapsed
        self._base_s = min(_BASE_GROWTH * self._base_s, job_s)
        self._is_busy = cpu >= _BUSY_SHARE * elapsed * limit
        if now >= self._ceiling_until:
            self._ceiling = self._maximum
        goes_on = self._judge_rate(rate, now)
        if goes_on:
            self._try(now, job_s, elapsed / max(cpu, 1e-9) * limit, body_share)

    def _judge_rate(self, rate: float, now: float) -> bool:
        """Compare a rate with those before. Return whether the next trial is due."""
        before, limit = self._before, self.limit
        if before is None:
            candidate, self._candidate = self._candidate, None
            same = _SAME_LINK * self._usual_rate < rate < self._usual_rate / _SAME_LINK
            self._strange = 0 if same else self._strange + 1
            if same or self._strange >= _STRANGE:
                self._usual_rate = rate
            # A trial has to beat the latest rate of the settled number.
            self._settled_rate = rate
            return self._is_due() if candidate is None else self._decide(limit, *candidate, now)
        if self._must_look_again(limit / before, rate):
            self._has_looked = True
            return False
        self._before = None
        if self._must_confirm(limit / before, rate):
            self._candidate = (limit, rate)
            self._use(before, now)
            return False
        return self._decide(before, limit, rate, now)

    def _is_due(self) -> bool:
        """Return whether the settled number has rested for long enough."""
        if not self._has_tried and self._is_busy and self._is_climbing:
            self._busy_looks += 1
            if self._busy_looks < _BUSY_LOOKS:
                return False
            self._is_climbing = False
            self._rest = self._next_rest = _BUSY_REST
        if self._strange >= _STRANGE:
            self._strange = 0
            if self._has_tried:
                self._rest, self._next_rest = 0, _FIRST_REST
                self._up = True
        self._rest -= self._rest > 0
        return self._rest == 0

    def _must_look_again(self, growth: float, rate: float) -> bool:
        """Return whether the first measurement of a trial does not decide it."""
        if self._has_looked:
            return False
        gain = rate / max(self._settled_rate, 1e-9)
        if growth < 1:
            return gain >= _CLEAR_LOSS
        # Most connections were new, so that each job took a round trip more than the next ones will.
        return _MIN_GAIN <= gain < growth / _MARGIN

    def _must_confirm(self, growth: float, rate: float) -> bool:
        """Return whether the number before a trial with more jobs is to be measured once more."""
        if growth < 1 or self._is_climbing:
            return False
        gain = rate / max(self._settled_rate, 1e-9)
        return gain > _MAX_EFFICIENCY * growth or _MIN_GAIN < gain < min(
            _CLEAR_GAIN, _PAID * growth
        )

    # --- deciding --------------------------------------------------------------------------------

    def _decide(self, before: int, tried: int, rate: float, now: float) -> bool:
        """Settle at the number before a trial, at the one that was tried, or between them.

        Returns:
            Whether another trial in the same direction is to follow.
        """
        gain = rate / max(self._settled_rate, 1e-9)
        if gain < (_MIN_GAIN if tried > before else _MAX_LOSS):
            self._turn()
            self._use(before, now)
            return False
        self._settled_rate = self._usual_rate = rate
        self._next_rest = _FIRST_REST
        if tried < before:
            self._use(tried, now)
            return True
        enough = math.ceil(_MARGIN * before * gain)
        if enough < tried:
            # Something is full: by Little's law fewer will do.
            self._use(max(before, enough), now)
            self._pause()
            return False
        self._step = _LARGE_STEP if self._is_climbing and gain >= _PAID * tried / before else _STEP
        self._use(tried, now)
        # After the climb a link that got faster may look like a trial that paid: the number is measured
        # once more before the next one.
        self._rest = 0
        return self._is_climbing

    def _try(self, now: float, job_s: float, relief: float, body_share: float | None) -> None:
        """Begin a trial with more jobs, or with fewer. At either end of the scale one direction is left.

        Args:
            now: The time in seconds.
            job_s: The time of a job in seconds.
            relief: How many jobs keep one processor busy, by the last measurement.
            body_share: As for `measure`.
        """
        settled = self.limit
        if self._up:
            # Little's law, by the processors and by the line.
            busy = math.ceil(_MARGIN * self._processors * relief * self._base_s / job_s)
            full = 0.0 if not body_share else _MARGIN / body_share
            step = self._step if job_s < _QUICK_S or settled < _FEW else _STEP
            wanted = max(step * settled, min(full, _MAX_STEP * settled))
            self._use(int(max(settled, min(busy, wanted))), now)
        else:
            floor = self._minimum if self._is_busy else max(self._minimum, _FEW)
            self._use(max(min(settled, floor), int(settled / _DOWN_STEP)), now)
        self._has_tried = True
        self._has_looked = False
        if self.limit != settled:
            self._before = settled
            return
        if self._up and settled == self._maximum:
            # Each trial has paid up to here, so fewer will hardly do.
            self._next_rest = max(self._next_rest, _BUSY_REST)
        self._turn()

    def _turn(self) -> None:
        """Rest, and then try the other direction."""
        self._up = not self._up
        self._pause()

    def _pause(self) -> None:
        """Rest. The first climb is over."""
        self._is_climbing = False
        self._step = _STEP
        self._rest = self._next_rest
        self._next_rest = min(2 * self._next_rest, _MAX_REST)

    def _use(self, number: int, now: float) -> None:
        number = max(1, min(number, self._maximum, self._ceiling))
        if number != self.limit:
            self._skipped = self.limit
            self._changed_at = now
            self.limit = number
