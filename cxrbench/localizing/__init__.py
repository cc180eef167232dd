"""A network's maps against boxes that radiologists drew, beside maps that know nothing: the same images and rules.

The result, as `RUN/eval/localization-VIEW-METHOD.json` has it. A FIGURE is {value, low, high, discarded}, a DIFFERENCE
is {difference, low, high, discarded}; any of these but `discarded`, which counts draws without a value, may be null:

    format              1
    cxrbench, use       version; for research, not for diagnosis
    network             what it is called beside others;  checkpoint, weights_sha256, arch, regime: of it
    data_sha256         of the data set;  boxes_sha256: of the CSV
    method, view        as gradcam, tencrop;  view_is_default: nobody asked for it
    grid                [rows, columns] of the network's maps over `crop` pixels
    findings            in order: those of NIH's boxes that the network knows;  undefined: of these, without boxes
    boxes               {given, used, images, patients, repeated, clipped, not_in_data: {boxes, images},
                        unknown: {finding: boxes}, learned_from: patients that the network has learned from}
    overlaps            0.1 to 0.9, the keys of what is below
    thresholds          {chosen: by what, or "given", grid: [..], of: {network|CONTROL: [for half 0, for half 1]}}
    halves              [patients, patients]
    interval            {level, by, replicates, seed}
    maps                {network|CONTROL: TABLE}, with
                        TABLE = {mean: {over: number of findings, FIGURES}, findings: {NAME: {boxes, images, patients,
                        FIGURES}}} and
                        FIGURES = {pointing: FIGURE, mean_iou: FIGURE, empty: FIGURE (share of maps that are 0
                        everywhere), accuracy_iou: {"0.1": FIGURE, ..}, accuracy_iobb: {..},
                        false_positives_iou: {..}, false_positives_iobb: {..}}
    differences         {CONTROL: {pointing: DIFFERENCE, mean_iou: DIFFERENCE, accuracy_iou: {"0.1": ..}, ..}}: the
                        network's mean less the control's, paired
    verdict             {pointing|mean_iou: {beats: [CONTROL, ..], behind: [..], undecided: [..], empty: [..]}}, by
                        these intervals; empty: most of its maps are, so that nothing is claimed; all undecided, where
                        a finding in the mean has boxes of fewer than 10 patients
    published           {name, note, accuracy_iobb: {"0.1": 0.629, ..}}: means over 8 findings
    warnings            one line each

CONTROL is one of CONTROLS; a control that gave no maps is in none of these, and is named in `warnings`.
"""
