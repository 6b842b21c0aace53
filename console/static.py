"""Static files under names that carry their hash."""

from servestatic.storage import CompressedManifestStaticFilesStorage


class ModuleManifestStorage(CompressedManifestStaticFilesStorage):
    """Hashed names, also inside ES modules' import statements."""

    support_js_module_import_aggregation = True
