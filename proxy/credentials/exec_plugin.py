"""A credential that a program gives us: the exec plugins of EKS, GKE, AKS and others.

At most one run is under way, and everybody who waits gets its outcome. A credential is renewed
shortly before it ends; while that fails, the one in hand is used up. A failed run, and one that
the API server did not like, is not repeated before ``RETRY_AFTER``: plugins are slow and heavy,
and every request would start one.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import ssl
from asyncio.subprocess import DEVNULL, PIPE, Process

from proxy import tls
from proxy.credentials.client_tls import ClientTLS
from proxy.credentials.credential import (
    Credential,
    authorization,
    bearer_token,
    earliest,
    token_expiry,
)
from proxy.credentials.exec_protocol import (
    ExecConfig,
    PluginAnswer,
    PluginError,
    exec_info,
    last_words,
    parse_answer,
)
from proxy.errors import CredentialUnavailable
from proxy.files import GivenData, Source, SourceError, explain

TIMEOUT = 60.0  # seconds for one run
RETRY_AFTER = 5.0  # seconds
MAX_OUTPUT_BYTES = 1 << 20
_CHUNK = 16 * 1024
_MARGIN = 60.0  # seconds before its end at which a credential is renewed, or a tenth of its life


class ExecCredential(Credential):
    """What a plugin answered last, and when to ask it again."""

    def __init__(self, config: ExecConfig, ca: Source | None) -> None:
        self._config, self._ca = config, ca
        self._certificate = GivenData(f"the certificate from {config.command}")
        self._key = GivenData(f"the key from {config.command}")
        super().__init__(ClientTLS(ca, self._certificate, self._key))
        self._running: asyncio.Task[None] | None = None
        self._held = self._rejected = False
        self._expires_at: float | None = None
        self._plugin_failure = ""
        self._due_at = -math.inf  # when to ask the plugin, if nothing else comes up
        self._retry_at = -math.inf
        self._run_is_news = False  # a run has ended of which no request knows the time

    @property
    def expires_at(self) -> float | None:
        return self._expires_at

    def reread(self) -> None:
        super().reread()
        self._rejected = True

    async def renew(self) -> None:
        """Run the plugin, or wait for the run that is under way; ``header`` knows the outcome."""
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="credential plugin")
            self._running.add_done_callback(self._ran)
        await asyncio.shield(self._running)

    def _judge(self, now: float) -> bytes | None:
        if self._run_is_news:
            self._run_is_news = False
            self._plan(now)
        expired = self._expires_at is not None and now >= self._expires_at
        usable = self._held and not expired
        if self._running is None and self._is_due(now):
            return None
        if self._running is not None and (self._rejected or not usable):
            return None
        if not usable:
            raise CredentialUnavailable(
                self._plugin_failure or f"{self._config.command} gave an expired credential"
            )
        return self._settle(-math.inf if self._rejected else self._due_at)

    def _is_due(self, now: float) -> bool:
        waiting = self._retry_at - RETRY_AFTER <= now < self._retry_at
        return not waiting and (self._rejected or now >= self._due_at)

    def _plan(self, now: float) -> None:
        """Decide, now that a run has ended, when the next one is due."""
        self._retry_at = now + RETRY_AFTER
        if self._plugin_failure:
            self._due_at = self._retry_at
        elif self._expires_at is None:
            self._due_at = math.inf
        else:
            margin = min(_MARGIN, (self._expires_at - now) / 10)
            self._due_at = self._expires_at - margin

    def _ran(self, _: asyncio.Task[None]) -> None:
        self._running = None
        self._run_is_news = True
        self._look_again()

    async def _run(self) -> None:
        try:
            self._take_up(await self._ask())
            self._plugin_failure = ""
        except PluginError as error:
            self._plugin_failure = f"the plugin {self._config.command} {error}"
        except SourceError as error:
            self._plugin_failure = str(error)

    def _take_up(self, answer: PluginAnswer) -> None:
        line, token_end, certificate_end = b"", None, None
        if answer.token:
            token = _check_token(answer)
            line, token_end = authorization(token), token_expiry(token)
        if answer.certificate:
            certificate_end = _check_pair(answer)
        self.changes += self._held and line != self.line
        self.line, self._held, self._rejected = line, True, False
        self._expires_at = earliest(answer.expires_at, token_end, certificate_end)
        self._certificate.content, self._key.content = answer.certificate, answer.key

    async def _ask(self) -> PluginAnswer:
        config = self._config
        told = exec_info(config, None if self._ca is None else self._ca.read())
        env = {**os.environ, **config.env, "KUBERNETES_EXEC_INFO": told}
        try:
            process = await asyncio.create_subprocess_exec(
                config.command,
                *config.args,
                env=env,
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=PIPE,
                start_new_session=True,  # so that what it starts can be ended with it
            )
        except OSError as error:
            raise PluginError(f"cannot be started: {explain(error)}") from error
        try:
            stdout, stderr = await _outputs(process)
        finally:
            await _end(process)
        if process.returncode != 0:
            words = last_words(stderr) or "it said nothing"
            raise PluginError(f"ended with status {process.returncode}: {words}")
        if len(stdout) > MAX_OUTPUT_BYTES:
            raise PluginError(f"wrote more than {MAX_OUTPUT_BYTES} bytes")
        return parse_answer(stdout, config.api_version)


def _check_token(answer: PluginAnswer) -> bytes:
    try:
        return bearer_token(answer.token, "a token that")
    except SourceError as error:
        raise PluginError(f"gave {error}") from error


def _check_pair(answer: PluginAnswer) -> float:
    try:
        tls.check_pair(answer.certificate, answer.key)
        return tls.not_after(answer.certificate)
    except (ValueError, ssl.SSLError) as error:
        raise PluginError("gave a client certificate and a key that make no pair") from error


async def _outputs(process: Process) -> tuple[bytes, bytes]:
    """Return the head of stdout and the tail of stderr once the plugin has ended."""
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(TIMEOUT):
            stdout, stderr = await asyncio.gather(_head(process.stdout), _tail(process.stderr))
            await process.wait()
    except TimeoutError as error:
        raise PluginError(f"did not end within {TIMEOUT:.0f} s") from error
    return stdout, stderr


async def _head(stream: asyncio.StreamReader) -> bytes:
    data = bytearray()
    while chunk := await stream.read(_CHUNK):
        data += chunk[: MAX_OUTPUT_BYTES + 1 - len(data)]
    return bytes(data)


async def _tail(stream: asyncio.StreamReader) -> bytes:
    data = b""
    while chunk := await stream.read(_CHUNK):
        data = (data + chunk)[-_CHUNK:]
    return data


async def _end(process: Process) -> None:
    """End a plugin that is still running, with all that it started."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            await process.communicate()  # its pipes must be at their end before the loop closes
