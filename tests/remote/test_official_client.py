"""The official client still has everything that we use. Fails loudly when a new version changes it."""

import inspect

import pytest

from builder.remote import sharing

METHODS = {
    "authenticate": [],
    "get_config_value": ["name"],
    "build_kaggle_client": [],
    "with_retry": ["func"],
    "upload_files": ["request", "resources", "folder", "blob_type", "upload_context", "quiet", "dir_mode", "ignore_patterns"],
    "competitions_list": ["search"],
    "competition_list_files": ["competition", "page_token", "page_size"],
    "competition_download_files": ["competition", "path", "force", "quiet"],
    "competition_get_submission_limits": ["competition_name"],
    "competition_submissions": ["competition", "page_number", "page_size"],
    "competition_submit_code": ["file_name", "message", "competition", "kernel", "kernel_version", "quiet"],
    "dataset_status": ["dataset"],
    "dataset_list_files": ["dataset", "page_token", "page_size"],
    "dataset_list": ["mine", "page"],
    "dataset_create_new": ["folder", "public", "quiet", "convert_to_csv", "dir_mode"],
    "kernels_list": ["mine", "page", "page_size"],
    "model_create_new": ["folder"],
    "model_instance_create": ["folder", "quiet", "dir_mode"],
    "model_instance_get": ["model_instance"],
    "model_instance_version_files": ["model_instance_version", "page_token", "page_size"],
    "kernels_push": ["folder", "timeout"],
    "download_file": ["response", "outfile", "http_client", "quiet", "resume"],
    "quota_view": [],
}
FIELDS = {
    "kernels.types.kernels_api_service": {
        "ApiGetKernelRequest": ["userName", "kernelSlug", "versionLabel"],
        "ApiGetKernelResponse": ["metadata", "blob"],
        "ApiKernelMetadata": ["ref", "currentVersionNumber", "datasetDataSources", "modelDataSources", "dockerImage"],
        "ApiKernelBlob": ["source"],
        "ApiGetKernelSessionStatusRequest": ["userName", "kernelSlug", "versionLabel"],
        "ApiGetKernelSessionStatusResponse": ["status", "failureMessage"],
        "ApiListKernelSessionOutputRequest": ["userName", "kernelSlug", "versionLabel", "pageSize", "pageToken"],
        "ApiListKernelSessionOutputResponse": ["files", "log", "nextPageToken"],
        "ApiKernelSessionOutputFile": ["url", "fileName"],
        "ApiSaveKernelResponse": [
            *("ref", "url", "versionNumber", "error", "invalidTags", "invalidDatasetSources"),
            *("invalidCompetitionSources", "invalidKernelSources", "invalidModelSources"),
        ],
        "ApiGetAcceleratorQuotaStatisticsResponse": ["quotaRefreshTime", "gpuQuota", "tpuQuota"],
    },
    "competitions.types.competition_api_service": {
        "ApiGetCompetitionRequest": ["competitionName"],
        "ApiCompetition": [
            *("title", "deadline", "maxDailySubmissions", "evaluationMetric", "isKernelsSubmissionsOnly"),
            *("userHasEntered", "submissionsDisabled"),
        ],
        "ApiListDataFilesResponse": ["files", "nextPageToken"],
        "ApiDataFile": ["name", "totalBytes"],
        "ApiSubmissionLimits": ["numToday", "numTotal", "numAllowedNow", "limitedByTotal"],
        "ApiCreateCodeSubmissionResponse": ["message", "ref"],
        "ApiGetSubmissionRequest": ["ref"],
        "ApiSubmission": ["ref", "status", "publicScore", "privateScore", "errorDescription", "description", "fileName", "date"],
    },
    "datasets.types.dataset_api_service": {
        "ApiListDatasetFilesResponse": ["datasetFiles", "nextPageToken", "errorMessage"],
        "ApiDatasetFile": ["name", "totalBytes"],
        "ApiCreateDatasetResponse": ["status", "error"],
        "ApiDataset": ["ref", "title", "totalBytes"],
        "ApiGetDatasetMetadataRequest": ["ownerSlug", "datasetSlug"],
        "ApiGetDatasetMetadataResponse": ["info", "errorMessage"],
        "ApiUpdateDatasetMetadataRequest": ["ownerSlug", "datasetSlug", "settings"],
        "ApiUpdateDatasetMetadataResponse": ["errors"],
        "ApiDeleteDatasetRequest": ["ownerSlug", "datasetSlug"],
        "ApiDeleteDatasetResponse": ["error"],
    },
    "datasets.types.dataset_types": {
        "DatasetInfo": [*sharing.KEPT],
        "DatasetSettings": [*sharing.KEPT],
        "DatasetCollaborator": ["username", "role"],
    },
    "models.types.model_api_service": {
        "ApiCreateModelResponse": ["id", "error", "errorCode"],
        "ApiListModelInstanceVersionFilesResponse": ["files", "nextPageToken"],
        "ApiModelFile": ["name", "size"],
    },
}


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """The client's class, imported where it can do no harm."""
    import os
    from unittest import mock

    home = str(tmp_path_factory.mktemp("home"))
    quiet = {"HOME": home, "PATH": os.environ["PATH"], "KAGGLE_API_ENVIRONMENT": "LOCALHOST", "HTTP_PROXY": "http://127.0.0.1:9"}
    with mock.patch.dict(os.environ, {**quiet, "http_proxy": "http://127.0.0.1:9"}, clear=True):
        from kaggle.api import kaggle_api_extended
    return kaggle_api_extended


@pytest.mark.parametrize("name", METHODS)
def test_the_methods_that_we_call_have_the_arguments_that_we_give(official, name):
    parameters = inspect.signature(getattr(official.KaggleApi, name)).parameters
    assert set(METHODS[name]) <= set(parameters)


def test_what_we_replace_is_there(official):
    assert callable(official.tqdm)
    assert str(official.AuthMethod.ACCESS_TOKEN) == "ACCESS_TOKEN"
    assert {"CONFIG_NAME_USER", "CONFIG_NAME_KEY", "CONFIG_NAME_AUTH_METHOD"} <= set(vars(official.KaggleApi))
    assert "tempfile.gettempdir()" in inspect.getsource(official)
    assert "tqdm(" in inspect.getsource(official.KaggleApi.upload_complete)
    assert "tqdm(" in inspect.getsource(official.KaggleApi.download_file)


@pytest.mark.parametrize(("module", "message"), [(module, message) for module in FIELDS for message in FIELDS[module]])
def test_the_messages_have_the_fields_that_we_use(official, module, message):
    import importlib

    fields = getattr(importlib.import_module(f"kagglesdk.{module}"), message)._fields
    assert set(FIELDS[module][message]) <= {field.json_name for field in fields}


def test_the_states_that_we_know_are_the_states_that_there_are(official):
    from kagglesdk.competitions.types.submission_status import SubmissionStatus
    from kagglesdk.datasets.types.dataset_enums import DatabundleVersionStatus
    from kagglesdk.kernels.types.kernels_enums import KernelWorkerStatus

    from builder.remote import datasets, runs, submissions

    assert {state.name for state in SubmissionStatus} == {submissions.PENDING, submissions.COMPLETE, submissions.ERROR}
    assert {datasets.READY, datasets.FAILED, datasets.DELETED} <= {state.name for state in DatabundleVersionStatus}
    under_way = {"QUEUED", runs.RUNNING, "CANCEL_REQUESTED"}
    assert {state.name for state in KernelWorkerStatus} == {*runs.OVER, *under_way}
