"""Adversarial Lenses: the library under a hands-on course on adversarial examples.

The map.  `from advlens import attacks, data, zoo` loads what it names; nothing else is imported.

    data          load("digits" | "shapes" | "mnist" | "cifar10") -> Dataset: images in [0, 1], labels, source
    models        the networks of the sources; they return logits and normalise pixels themselves
    zoo           pretrained(name, data), card, summary: the trained networks
    layers        Normalize, Scale, RePU, BatchRenorm, and the layers that the sources propose as defences
    training      fit(model, train, objective=..., ...) -> History
    geometry      Lp balls: norm, project, steepest, random_point
    attacks       fgsm fgm bim pgd apgd . carlini_wagner ddn deepfool lbfgs fmn jsma . square hop_skip_jump one_pixel
                  noise . mask_image . BPDA EOT . strongest: functions (model, x, y, *, ...) -> images
    evaluation    evaluate, accuracy, robust_accuracy, robust_curve, transfer, passes; paired, over_seeds,
    wilson_interval
    audit         signs of a masked gradient
    certify       interval bounds, certified accuracy, randomised smoothing
    defences      adversarial training, logit pairing, distillation, gradient penalties: objectives for training.fit;
                  masking: false ones, built to be broken;  compression: JPEG of a random quality
    jpeg          the codec as a differentiable layer;  spectral  Fourier;  saliency  saliency, Grad-CAM
    hebbian       learning without labels
    kernels       Triton kernels, each beside its plain torch twin
    course        what only the book needs: records, plots, planes, widgets, checks, grading, counting, the
                  command `advlens`

Images are float32 (N, C, H, W) in [0, 1], labels int64 (N,), eps in units of the pixels.
"""
