"""The texts of the runbooks, a file each: title, symptom, fix."""
