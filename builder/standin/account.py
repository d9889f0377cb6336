"""The account: tokens and accelerator quota."""

from __future__ import annotations

import datetime as dt
import hmac
from typing import Any

from kagglesdk.kernels.types import kernels_api_service as kernels
from kagglesdk.security.types.oauth_service import IntrospectTokenRequest, IntrospectTokenResponse

from builder.standin.wire import Call, Methods

HOUR = 3600
WEEK = 7 * 24 * HOUR


def introspect(call: Call, request: Any) -> IntrospectTokenResponse:
    """IntrospectToken: whose token this is; inactive when it is nobody's."""
    response = IntrospectTokenResponse()
    response.active = hmac.compare_digest((request.token or "").encode(), call.service.record.token.encode())
    if response.active:
        response.username, response.user_id = call.owner, 1
    return response


def week_start(now: float) -> float:
    """Midnight UTC of the last Saturday, when quotas start again."""
    today = dt.datetime.fromtimestamp(now, dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (today - dt.timedelta(days=(today.weekday() - 5) % 7)).timestamp()


def gpu_seconds(call: Call) -> float:
    """GPU seconds that saved versions used this week; scored reruns cost nothing."""
    now = call.service.now()
    sql = "SELECT started, finished FROM kernel_versions WHERE gpu = 1 AND started >= ?"
    return sum(float((row["finished"] or now) - row["started"]) for row in call.store.all(sql, week_start(now)))


def quota(call: Call, _: Any) -> dict[str, Any]:
    """GetAcceleratorQuotaStatistics.

    Written by hand: the message class drops whole days when it writes a duration, and 30 hours are more than a day.
    """
    settings, now = call.service.settings, call.service.now()
    refresh = dt.datetime.fromtimestamp(week_start(now) + WEEK, dt.UTC).replace(tzinfo=None)
    used = gpu_seconds(call)
    return {
        "quotaRefreshTime": refresh.isoformat(timespec="milliseconds") + "Z",
        "gpuQuota": _quota(used, settings.gpu_hours),
        "tpuQuota": _quota(0.0, settings.tpu_hours),
    }


def _quota(used: float, hours: float) -> dict[str, Any]:
    return {"timeUsed": f"{int(used)}s", "totalTimeAllowed": f"{int(hours * HOUR)}s", "hasEverRun": used > 0}


TOKENS: Methods = {"IntrospectToken": (IntrospectTokenRequest, introspect)}
QUOTA: Methods = {"GetAcceleratorQuotaStatistics": (kernels.ApiGetAcceleratorQuotaStatisticsRequest, quota)}
