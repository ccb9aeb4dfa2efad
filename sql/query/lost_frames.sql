{#- In place of what the merge has found in frames that are not there, or damaged: whoever asks is told so. #}
CREATE TEMP VIEW frame_problems AS
SELECT '' AS clip_name, error({{ why | literal }}) AS "column", 0.0 AS expected, 0.0 AS found, '' AS file
