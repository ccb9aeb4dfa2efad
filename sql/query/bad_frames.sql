{#- The clips whose log says that frames have no finite value of a feature that must have one. #}
CREATE VIEW bad_frames AS
SELECT clip_name, frames, finite_frames, host
FROM {{ entries | identifier }}
WHERE finite_frames BETWEEN 0 AND frames - 1
